//! The wrong drivers: a file each, named as the rule that it breaks.

use crate::prelude::Fault;

/// Declares a module for each rule, and the table of them all.
macro_rules! faults {
    ($($module:ident breaks $rule:literal;)*) => {
        $(mod $module;)*
        /// The drivers, by the name of the rule that each breaks.
        pub static FAULTS: &[(&str, Fault)] = &[$(($rule, $module::FAULT)),*];
    };
}

faults! {
    access_violation breaks "AccessViolation";
    active_in_freed_memory breaks "ActiveInFreedMemory";
    bad_free breaks "BadFree";
    bad_mdl breaks "BadMdl";
    bad_object breaks "BadObject";
    bug_check breaks "BugCheck";
    cancel_not_checked breaks "CancelNotChecked";
    cancel_routine_set_at_completion breaks "CancelRoutineSetAtCompletion";
    cancel_spin_lock_not_owned breaks "CancelSpinLockNotOwned";
    cancel_spin_lock_not_released breaks "CancelSpinLockNotReleased";
    completed_with_pending_status breaks "CompletedWithPendingStatus";
    completion_irql breaks "CompletionIrql";
    completion_under_spin_lock breaks "CompletionUnderSpinLock";
    device_live_at_unload breaks "DeviceLiveAtUnload";
    double_completion breaks "DoubleCompletion";
    double_free breaks "DoubleFree";
    dpc_live_at_unload breaks "DpcLiveAtUnload";
    driver_hangs breaks "DriverHangs";
    etw_live_at_unload breaks "EtwLiveAtUnload";
    etw_use_after_unregister breaks "EtwUseAfterUnregister";
    executable_pool breaks "ExecutablePool";
    information_beyond_buffer breaks "InformationBeyondBuffer";
    invariant_mdl breaks "InvariantMdl";
    irp_foreign breaks "IrpForeign";
    irp_freed_in_use breaks "IrpFreedInUse";
    irp_leak breaks "IrpLeak";
    irp_not_reclaimed breaks "IrpNotReclaimed";
    irp_own_completed breaks "IrpOwnCompleted";
    irp_reused_foreign breaks "IrpReusedForeign";
    irp_use_after_complete breaks "IrpUseAfterComplete";
    irql_at_return breaks "IrqlAtReturn";
    irql_change breaks "IrqlChange";
    irql_too_high breaks "IrqlTooHigh";
    kernel_stack breaks "KernelStack";
    link_live_at_unload breaks "LinkLiveAtUnload";
    live_at_unload breaks "LiveAtUnload";
    lock_held_at_return breaks "LockHeldAtReturn";
    lock_irql breaks "LockIrql";
    lock_not_owned breaks "LockNotOwned";
    lock_order breaks "LockOrder";
    marked_not_returned breaks "MarkedNotReturned";
    no_stack_location breaks "NoStackLocation";
    paged_at_dispatch breaks "PagedAtDispatch";
    paged_object breaks "PagedObject";
    pended_completed_request breaks "PendedCompletedRequest";
    pending_returned_not_marked breaks "PendingReturnedNotMarked";
    pool_leak breaks "PoolLeak";
    pool_overrun breaks "PoolOverrun";
    pool_tag_mismatch breaks "PoolTagMismatch";
    pool_underrun breaks "PoolUnderrun";
    recursive_lock breaks "RecursiveLock";
    slow_cancel breaks "SlowCancel";
    status_differs breaks "StatusDiffers";
    status_without_completion breaks "StatusWithoutCompletion";
    thread_live_at_unload breaks "ThreadLiveAtUnload";
    timer_live_at_unload breaks "TimerLiveAtUnload";
    use_after_free breaks "UseAfterFree";
    wait_at_dispatch breaks "WaitAtDispatch";
    work_item_live_at_unload breaks "WorkItemLiveAtUnload";
    wsk_abort_with_buffer breaks "WskAbortWithBuffer";
    wsk_address_list_freed_twice breaks "WskAddressListFreedTwice";
    wsk_buffer_beyond_mdl breaks "WskBufferBeyondMdl";
    wsk_buffer_gone breaks "WskBufferGone";
    wsk_buffer_not_locked breaks "WskBufferNotLocked";
    wsk_call_in_completion_routine breaks "WskCallInCompletionRoutine";
    wsk_callback_answer breaks "WskCallbackAnswer";
    wsk_capture_waits breaks "WskCaptureWaits";
    wsk_close_in_callback breaks "WskCloseInCallback";
    wsk_close_overlaps_call breaks "WskCloseOverlapsCall";
    wsk_close_twice breaks "WskCloseTwice";
    wsk_deregister_waits breaks "WskDeregisterWaits";
    wsk_descriptor_unknown breaks "WskDescriptorUnknown";
    wsk_dispatch_after_release breaks "WskDispatchAfterRelease";
    wsk_drain_with_buffer breaks "WskDrainWithBuffer";
    wsk_indication_retained breaks "WskIndicationRetained";
    wsk_irp_in_use breaks "WskIrpInUse";
    wsk_irp_not_reused breaks "WskIrpNotReused";
    wsk_live_at_unload breaks "WskLiveAtUnload";
    wsk_no_completion_routine breaks "WskNoCompletionRoutine";
    wsk_no_irp breaks "WskNoIrp";
    wsk_not_registered breaks "WskNotRegistered";
    wsk_parallel_accepts breaks "WskParallelAccepts";
    wsk_registered_twice breaks "WskRegisteredTwice";
    wsk_registration_changed breaks "WskRegistrationChanged";
    wsk_release_unknown breaks "WskReleaseUnknown";
    wsk_release_without_capture breaks "WskReleaseWithoutCapture";
    wsk_unknown_socket breaks "WskUnknownSocket";
    wsk_use_after_close breaks "WskUseAfterClose";
    zero_size_pool breaks "ZeroSizePool";
}
