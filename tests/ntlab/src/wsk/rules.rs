//! The rules of WSK that can be seen from underneath, and their names.
//!
//! One idea: what Windows answers with a hang, a crash or silence is here a named violation.
//!
//! Source: *Using IRPs with Winsock Kernel Functions*, *Registering a Winsock Kernel Application*, *Unregistering a Winsock
//! Kernel Application*, and the remarks of each function of *wsk.h*.

use crate::rules::Rule;

macro_rules! wsk_rules {
    ($($id:ident = $name:literal, $meaning:literal, $remedy:literal $(, unprovable $why:literal)?;)*) => {
        $(
            #[doc = concat!("`", $name, "`, a rule of WSK.")]
            pub static $id: Rule = Rule {
                name: $name,
                windows_name: None,
                meaning: $meaning,
                remedy: $remedy,
                unprovable: [$($why,)?].first().copied(),
            };
        )*
        /// Every rule of this module.
        pub static RULES: &[&Rule] = &[ $( &$id ),* ];
    };
}

wsk_rules! {
    CLOSE_OVERLAPS_CALL = "WskCloseOverlapsCall",
        "WskCloseSocket is not called while another call to the same socket's functions has not returned.",
        "Count the calls that are inside the socket, close the count to new ones, and close the socket when it is empty.";
    CLOSE_TWICE = "WskCloseTwice",
        "A socket is closed once.",
        "Decide atomically who closes the socket.";
    USE_AFTER_CLOSE = "WskUseAfterClose",
        "No function of a socket is called once WskCloseSocket was called for it.",
        "Refuse new operations before closing; drop the pointer to the socket with the close.";
    UNKNOWN_SOCKET = "WskUnknownSocket",
        "The socket passed to a function is one that WSK gave out, to a function of its category's dispatch table.",
        "Take the socket from IoStatus.Information of a WskSocket, WskSocketConnect or WskAccept that succeeded.";
    CALL_IN_COMPLETION = "WskCallInCompletionRoutine",
        "No WSK function is called from the completion routine of a WSK function's IRP.",
        "Queue a work item: the calls could nest until the kernel stack is used up.";
    CLOSE_IN_CALLBACK = "WskCloseInCallback",
        "WskCloseSocket is not called from an event callback of the socket.",
        "Queue a work item: the close waits for the callback to return.";
    CALLBACK_ANSWER = "WskCallbackAnswer",
        "An event callback answers with a status or action that its page lists, and accepts no more bytes than were indicated.",
        "Return what the callback's page allows; set *BytesAccepted only to accept a part.";
    INDICATION_RETAINED = "WskIndicationRetained",
        "Lists of received data that a driver retains are released before their socket is closed.",
        "Call WskRelease for each list that a callback answered with STATUS_PENDING, then close: closing releases none.";
    RELEASE_UNKNOWN = "WskReleaseUnknown",
        "WskRelease gets a list that a callback of this socket retained, once, and the head of it.",
        "Keep the pointer that the callback got, and forget it with the release.";
    DESCRIPTOR_UNKNOWN = "WskDescriptorUnknown",
        "WSK_RELEASE_SD gets a security descriptor that WSK_CACHE_SD gave, once.",
        "Release the cached copy, not the original, and forget it with the release.";
    NO_IRP = "WskNoIrp",
        "A function that completes asynchronously is given an IRP.",
        "Allocate an IRP with one stack location, or pass on one that has a free location.";
    NO_COMPLETION_ROUTINE = "WskNoCompletionRoutine",
        "A driver's own IRP has a completion routine for success, error and cancel when it is passed to WSK.",
        "Call IoSetCompletionRoutine(.., TRUE, TRUE, TRUE) before each call, also after IoReuseIrp.";
    IRP_IN_USE = "WskIrpInUse",
        "An IRP that WSK has is not passed to WSK again.",
        "Wait for its completion, then call IoReuseIrp.";
    IRP_NOT_REUSED = "WskIrpNotReused",
        "A driver's own IRP that was completed is given to IoReuseIrp before WSK gets it again.",
        "Call IoReuseIrp, then set the completion routine again: what the last call left in the IRP is not the next one's.";
    BUFFER_BEYOND_MDL = "WskBufferBeyondMdl",
        "Offset and Length of a WSK_BUF lie within its MDL chain, and Offset within the first MDL.",
        "Compute the length from the MDLs: Windows reads and writes what lies behind them.";
    BUFFER_NOT_LOCKED = "WskBufferNotLocked",
        "The MDLs of a WSK_BUF describe nonpaged or locked memory.",
        "Call MmBuildMdlForNonPagedPool or MmProbeAndLockPages; use METHOD_IN_DIRECT or METHOD_OUT_DIRECT.";
    BUFFER_GONE = "WskBufferGone",
        "The memory of an IRP's buffer is there until the IRP is completed.",
        "Unlock and free a buffer only after the completion of the IRP that it was passed with.";
    DRAIN_WITH_BUFFER = "WskDrainWithBuffer",
        "A receive with WSK_FLAG_DRAIN has a buffer of length zero, and not WSK_FLAG_WAITALL.",
        "Pass a WSK_BUF whose Length is zero.";
    ABORT_WITH_BUFFER = "WskAbortWithBuffer",
        "A disconnect with WSK_FLAG_ABORTIVE has no buffer.",
        "Pass NULL: an abortive disconnect sends nothing.";
    PARALLEL_ACCEPTS = "WskParallelAccepts",
        "One WskAccept at a time is outstanding on a listening socket.",
        "Start the next accept when the one before has completed: Windows hangs.";
    NOT_CAPTURED = "WskDispatchAfterRelease",
        "The provider's functions are called only between a successful capture and its release.",
        "Release the NPI last, when no thread can call the provider any more.";
    CAPTURE_WAITS = "WskCaptureWaits",
        "WSK_INFINITE_WAIT is used neither in DriverEntry nor in a dispatch routine.",
        "Capture on a worker thread and in finite slices: a provider that is late holds up the boot, or a process that cannot end.";
    RELEASE_WITHOUT_CAPTURE = "WskReleaseWithoutCapture",
        "WskReleaseProviderNPI is called once for each successful WskCaptureProviderNPI.",
        "Release in the unwind of the step that captured.";
    NOT_REGISTERED = "WskNotRegistered",
        "The WSK_REGISTRATION passed on is one that WskRegister initialized, at the same address, and not deregistered.",
        "Keep the registration block in one place from WskRegister to WskDeregister.";
    REGISTRATION_CHANGED = "WskRegistrationChanged",
        "The registration block and the client's dispatch table stay as they were until WskDeregister returns.",
        "Keep both in nonpaged memory that nothing else writes, and that outlives the registration.";
    REGISTERED_TWICE = "WskRegisteredTwice",
        "A registration block serves one registration at a time.",
        "Deregister first, or use another block.";
    DEREGISTER_WAITS = "WskDeregisterWaits",
        "At WskDeregister every capture is released, every socket closed and every IRP back, or on its way without help.",
        "Close the sockets, wait for the IRPs, release the NPI, then deregister: the wait cannot be interrupted.";
    LIVE_AT_UNLOAD = "WskLiveAtUnload",
        "A driver that unloads has no WSK registration, socket, IRP or address list left.",
        "Deregister before the unload routine returns.";
    ADDRESS_LIST_FREED_TWICE = "WskAddressListFreedTwice",
        "WskFreeAddressInfo gets a list that WskGetAddressInfo returned, once.",
        "Free the head of the list, once, and forget it.";
}
