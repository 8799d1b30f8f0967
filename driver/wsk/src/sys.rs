//! `wsk.h` by hand: every function type, struct and constant of the WSK client interface.
//!
//! `wdk-sys` does not bind `wsk.h`. Written by hand with asserted layouts, these bindings are the same for every build:
//! `cargo lab layouts` checks [`LAYOUTS`] against the C header that is at hand. Kernel objects (IRP, MDL, EPROCESS, ...) are
//! opaque here, so that the crate also compiles where there is no kernel: the lab's WSK provider speaks these same types.
//!
//! Source: *wsk.h header*, Microsoft's driver documentation.

use core::ffi::c_void;

/// A function pointer type of the kernel's calling convention, null when `None`.
///
/// On x86-64 that is `win64` on every host, so that a provider that runs in a Linux process can be called as on Windows.
#[cfg(target_arch = "x86_64")]
macro_rules! kernel_fn {
    (fn($($argument:ty),* $(,)?) $(-> $result:ty)?) => { Option<unsafe extern "win64" fn($($argument),*) $(-> $result)?> };
}
#[cfg(not(target_arch = "x86_64"))]
macro_rules! kernel_fn {
    (fn($($argument:ty),* $(,)?) $(-> $result:ty)?) => { Option<unsafe extern "C" fn($($argument),*) $(-> $result)?> };
}

macro_rules! opaque {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug)]
        pub struct $name { _opaque: [u8; 0] }
    )*};
}

opaque! {
    /// An I/O request packet (IRP).
    Irp;
    /// A memory descriptor list (MDL).
    Mdl;
    /// EPROCESS.
    Process;
    /// ETHREAD.
    Thread;
    /// `SECURITY_DESCRIPTOR`.
    SecurityDescriptor;
    /// `WSK_CLIENT`: a client's binding to the WSK provider.
    Client;
    /// CMSGHDR: control data of a datagram.
    ControlHeader;
}

/// NTSTATUS.
pub type NtStatus = i32;

/// `ADDRESS_FAMILY`.
pub type AddressFamily = u16;
/// `AF_INET`.
pub const AF_INET: AddressFamily = 2;
/// `AF_INET6`.
pub const AF_INET6: AddressFamily = 23;
/// `SOCK_STREAM`.
pub const SOCK_STREAM: u16 = 1;
/// `SOCK_DGRAM`.
pub const SOCK_DGRAM: u16 = 2;
/// `IPPROTO_TCP`.
pub const IPPROTO_TCP: u32 = 6;
/// `IPPROTO_UDP`.
pub const IPPROTO_UDP: u32 = 17;

/// `MAKE_WSK_VERSION(1, 0)`.
pub const VERSION_1_0: u16 = 0x0100;
/// `WSK_NO_WAIT`: capture the provider's NPI only if it is ready.
pub const NO_WAIT: u32 = 0;
/// `WSK_INFINITE_WAIT`.
pub const INFINITE_WAIT: u32 = 0xffff_ffff;

/// `WSK_FLAG_BASIC_SOCKET`.
pub const FLAG_BASIC_SOCKET: u32 = 0;
/// `WSK_FLAG_LISTEN_SOCKET`.
pub const FLAG_LISTEN_SOCKET: u32 = 1;
/// `WSK_FLAG_CONNECTION_SOCKET`.
pub const FLAG_CONNECTION_SOCKET: u32 = 2;
/// `WSK_FLAG_DATAGRAM_SOCKET`.
pub const FLAG_DATAGRAM_SOCKET: u32 = 4;
/// `WSK_FLAG_STREAM_SOCKET`.
pub const FLAG_STREAM_SOCKET: u32 = 8;
/// `WSK_FLAG_AT_DISPATCH_LEVEL`: passed to event callbacks.
pub const FLAG_AT_DISPATCH_LEVEL: u32 = 8;
/// `WSK_FLAG_WAITALL`: a receive completes when its buffer is full.
pub const FLAG_WAITALL: u32 = 2;
/// `WSK_FLAG_DRAIN`: a receive that takes data only to drop it.
pub const FLAG_DRAIN: u32 = 4;
/// `WSK_FLAG_NODELAY`: a send that is not held back.
pub const FLAG_NODELAY: u32 = 2;
/// `WSK_FLAG_ABORTIVE`: a disconnect that resets.
pub const FLAG_ABORTIVE: u32 = 1;

/// `SOL_SOCKET`.
pub const SOL_SOCKET: u32 = 0xffff;
/// `SO_WSK_EVENT_CALLBACK`: takes a [`EventCallbackControl`].
pub const SO_WSK_EVENT_CALLBACK: u32 = 0x4002;
/// `WSK_EVENT_RECEIVE`.
pub const EVENT_RECEIVE: u32 = 0x40;
/// `WSK_EVENT_DISCONNECT`.
pub const EVENT_DISCONNECT: u32 = 0x80;
/// `WSK_EVENT_RECEIVE_FROM`.
pub const EVENT_RECEIVE_FROM: u32 = 0x100;
/// `STATUS_DATA_NOT_ACCEPTED`.
pub const DATA_NOT_ACCEPTED: NtStatus = 0xC000_021B_u32.cast_signed();
/// `NPI_WSK_INTERFACE_ID`.
pub static INTERFACE_ID: Guid =
    Guid { data1: 0x2227_e803, data2: 0x8d8b, data3: 0x11d4, data4: [0xab, 0xad, 0x00, 0x90, 0x27, 0x71, 0x9e, 0x09] };

/// `SIO_WSK_QUERY_IDEAL_SEND_BACKLOG`: answers a `SIZE_T`.
pub const SIO_WSK_QUERY_IDEAL_SEND_BACKLOG: u32 = 0x4f00_0003;
/// `SIO_WSK_QUERY_RECEIVE_BACKLOG`: answers a `SIZE_T`.
pub const SIO_WSK_QUERY_RECEIVE_BACKLOG: u32 = 0x4f00_0004;
/// `SIO_WSK_SET_REMOTE_ADDRESS`.
pub const SIO_WSK_SET_REMOTE_ADDRESS: u32 = 0x8f00_0001;

/// `SOCKADDR`: a family, and what the family says follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SockAddr {
    /// `sa_family`.
    pub family: AddressFamily,
    /// `sa_data`.
    pub data: [u8; 14],
}

/// `SOCKADDR_IN`. Port and address are in network order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SockAddrIn {
    /// `sin_family`: [`AF_INET`].
    pub family: AddressFamily,
    /// `sin_port`, network order.
    pub port: [u8; 2],
    /// `sin_addr`, network order.
    pub address: [u8; 4],
    /// `sin_zero`.
    pub zero: [u8; 8],
}

/// `SOCKADDR_IN6`. Port, flow information and address are in network order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SockAddrIn6 {
    /// `sin6_family`: [`AF_INET6`].
    pub family: AddressFamily,
    /// `sin6_port`, network order.
    pub port: [u8; 2],
    /// `sin6_flowinfo`.
    pub flow_info: u32,
    /// `sin6_addr`.
    pub address: [u8; 16],
    /// `sin6_scope_id`.
    pub scope_id: u32,
}

/// GUID.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guid {
    /// `Data1`.
    pub data1: u32,
    /// `Data2`.
    pub data2: u16,
    /// `Data3`.
    pub data3: u16,
    /// `Data4`.
    pub data4: [u8; 8],
}

/// `WSK_SOCKET`: what a provider makes of a socket. Its dispatch table's type follows from the socket's category.
#[repr(C)]
#[derive(Debug)]
pub struct Socket {
    /// The category's dispatch table.
    pub dispatch: *const c_void,
}

/// `WSK_BUF`: part of a chain of MDLs. A length beyond the chain crashes Windows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Buf {
    /// The chain.
    pub mdl: *mut Mdl,
    /// Bytes to leave out at the first MDL's start.
    pub offset: u32,
    /// Bytes.
    pub length: usize,
}

/// `WSK_BUF_LIST`.
#[repr(C)]
#[derive(Debug)]
pub struct BufList {
    /// The next one.
    pub next: *mut BufList,
    /// This one.
    pub buffer: Buf,
}

/// `WSK_DATA_INDICATION`.
#[repr(C)]
#[derive(Debug)]
pub struct DataIndication {
    /// The next one.
    pub next: *mut DataIndication,
    /// Received data.
    pub buffer: Buf,
}

/// `WSK_DATAGRAM_INDICATION`.
#[repr(C)]
#[derive(Debug)]
pub struct DatagramIndication {
    /// The next one.
    pub next: *mut DatagramIndication,
    /// The datagram's data.
    pub buffer: Buf,
    /// Its control data.
    pub control_info: *mut ControlHeader,
    /// Bytes of control data.
    pub control_info_length: u32,
    /// Its sender.
    pub remote_address: *mut SockAddr,
}

/// `WSK_INSPECT_ID`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InspectId {
    /// `Key`.
    pub key: usize,
    /// `SerialNumber`.
    pub serial_number: u32,
}

/// `WSK_CONTROL_SOCKET_TYPE`, as the C int that it is passed as.
pub type ControlSocketType = i32;
/// `WskSetOption`.
pub const CONTROL_SET_OPTION: ControlSocketType = 0;
/// `WskGetOption`.
pub const CONTROL_GET_OPTION: ControlSocketType = 1;
/// `WskIoctl`.
pub const CONTROL_IOCTL: ControlSocketType = 2;

/// `WSK_INSPECT_ACTION`, as the C int that it is passed as.
pub type InspectAction = i32;
/// `WskInspectReject`.
pub const INSPECT_REJECT: InspectAction = 0;
/// `WskInspectAccept`.
pub const INSPECT_ACCEPT: InspectAction = 1;
/// `WskInspectPend`.
pub const INSPECT_PEND: InspectAction = 2;

/// `PFN_WSK_CLIENT_EVENT`.
pub type ClientEventFn = kernel_fn!(fn(*mut c_void, u32, *mut c_void, usize) -> NtStatus);
/// `PFN_WSK_DISCONNECT_EVENT`.
pub type DisconnectEventFn = kernel_fn!(fn(*mut c_void, u32) -> NtStatus);
/// `PFN_WSK_SEND_BACKLOG_EVENT`.
pub type SendBacklogEventFn = kernel_fn!(fn(*mut c_void, usize) -> NtStatus);
/// `PFN_WSK_RECEIVE_EVENT`.
pub type ReceiveEventFn = kernel_fn!(fn(*mut c_void, u32, *mut DataIndication, usize, *mut usize) -> NtStatus);
/// `PFN_WSK_RECEIVE_FROM_EVENT`.
pub type ReceiveFromEventFn = kernel_fn!(fn(*mut c_void, u32, *mut DatagramIndication) -> NtStatus);
/// `PFN_WSK_ACCEPT_EVENT`.
pub type AcceptEventFn = kernel_fn!(
    fn(
        *mut c_void,
        u32,
        *mut SockAddr,
        *mut SockAddr,
        *mut Socket,
        *mut *mut c_void,
        *mut *const ClientConnectionDispatch,
    ) -> NtStatus
);
/// `PFN_WSK_INSPECT_EVENT`.
pub type InspectEventFn = kernel_fn!(fn(*mut c_void, *mut SockAddr, *mut SockAddr, *mut InspectId) -> InspectAction);
/// `PFN_WSK_ABORT_EVENT`.
pub type AbortEventFn = kernel_fn!(fn(*mut c_void, *mut InspectId) -> NtStatus);

/// `PFN_WSK_SOCKET`. `<= DISPATCH_LEVEL`.
pub type SocketFn = kernel_fn!(
    fn(
        *mut Client,
        AddressFamily,
        u16,
        u32,
        u32,
        *mut c_void,
        *const c_void,
        *mut Process,
        *mut Thread,
        *mut SecurityDescriptor,
        *mut Irp,
    ) -> NtStatus
);
/// `PFN_WSK_SOCKET_CONNECT`. `<= DISPATCH_LEVEL`.
pub type SocketConnectFn = kernel_fn!(
    fn(
        *mut Client,
        u16,
        u32,
        *mut SockAddr,
        *mut SockAddr,
        u32,
        *mut c_void,
        *const ClientConnectionDispatch,
        *mut Process,
        *mut Thread,
        *mut SecurityDescriptor,
        *mut Irp,
    ) -> NtStatus
);
/// `PFN_WSK_CONTROL_CLIENT`.
pub type ControlClientFn =
    kernel_fn!(fn(*mut Client, u32, usize, *mut c_void, usize, *mut c_void, *mut usize, *mut Irp) -> NtStatus);
/// `PFN_WSK_GET_ADDRESS_INFO`.
pub type GetAddressInfoFn = kernel_fn!(
    fn(
        *mut Client,
        *mut UnicodeString,
        *mut UnicodeString,
        u32,
        *mut Guid,
        *mut AddressInfo,
        *mut *mut AddressInfo,
        *mut Process,
        *mut Thread,
        *mut Irp,
    ) -> NtStatus
);
/// `PFN_WSK_FREE_ADDRESS_INFO`.
pub type FreeAddressInfoFn = kernel_fn!(fn(*mut Client, *mut AddressInfo));
/// `PFN_WSK_GET_NAME_INFO`.
pub type GetNameInfoFn = kernel_fn!(
    fn(
        *mut Client,
        *mut SockAddr,
        u32,
        *mut UnicodeString,
        *mut UnicodeString,
        u32,
        *mut Process,
        *mut Thread,
        *mut Irp,
    ) -> NtStatus
);
/// `PFN_WSK_CONTROL_SOCKET`.
pub type ControlSocketFn = kernel_fn!(
    fn(
        *mut Socket,
        ControlSocketType,
        u32,
        u32,
        usize,
        *mut c_void,
        usize,
        *mut c_void,
        *mut usize,
        *mut Irp,
    ) -> NtStatus
);
/// `PFN_WSK_CLOSE_SOCKET`. `<= DISPATCH_LEVEL`, and never inside a callback of the socket.
pub type CloseSocketFn = kernel_fn!(fn(*mut Socket, *mut Irp) -> NtStatus);
/// `PFN_WSK_BIND`. `<= DISPATCH_LEVEL`.
pub type BindFn = kernel_fn!(fn(*mut Socket, *mut SockAddr, u32, *mut Irp) -> NtStatus);
/// `PFN_WSK_ACCEPT`.
pub type AcceptFn = kernel_fn!(
    fn(
        *mut Socket,
        u32,
        *mut c_void,
        *const ClientConnectionDispatch,
        *mut SockAddr,
        *mut SockAddr,
        *mut Irp,
    ) -> NtStatus
);
/// `PFN_WSK_CONNECT`. `<= DISPATCH_LEVEL`.
pub type ConnectFn = kernel_fn!(fn(*mut Socket, *mut SockAddr, u32, *mut Irp) -> NtStatus);
/// `PFN_WSK_LISTEN`.
pub type ListenFn = kernel_fn!(fn(*mut Socket, *mut Irp) -> NtStatus);
/// `PFN_WSK_SEND`.
pub type SendFn = kernel_fn!(fn(*mut Socket, *mut Buf, u32, *mut Irp) -> NtStatus);
/// `PFN_WSK_RECEIVE`.
pub type ReceiveFn = kernel_fn!(fn(*mut Socket, *mut Buf, u32, *mut Irp) -> NtStatus);
/// `PFN_WSK_DISCONNECT`.
pub type DisconnectFn = kernel_fn!(fn(*mut Socket, *mut Buf, u32, *mut Irp) -> NtStatus);
/// `PFN_WSK_GET_LOCAL_ADDRESS` and `PFN_WSK_GET_REMOTE_ADDRESS`.
pub type GetAddressFn = kernel_fn!(fn(*mut Socket, *mut SockAddr, *mut Irp) -> NtStatus);
/// `PFN_WSK_CONNECT_EX`.
pub type ConnectExFn = kernel_fn!(fn(*mut Socket, *mut SockAddr, *mut Buf, u32, *mut Irp) -> NtStatus);
/// `PFN_WSK_RELEASE_DATA_INDICATION_LIST`.
pub type ReleaseDataFn = kernel_fn!(fn(*mut Socket, *mut DataIndication) -> NtStatus);
/// `PFN_WSK_SEND_TO`.
pub type SendToFn =
    kernel_fn!(fn(*mut Socket, *mut Buf, u32, *mut SockAddr, u32, *mut ControlHeader, *mut Irp) -> NtStatus);
/// `PFN_WSK_RECEIVE_FROM`.
pub type ReceiveFromFn = kernel_fn!(
    fn(*mut Socket, *mut Buf, u32, *mut SockAddr, *mut u32, *mut ControlHeader, *mut u32, *mut Irp) -> NtStatus
);
/// `PFN_WSK_RELEASE_DATAGRAM_INDICATION_LIST`.
pub type ReleaseDatagramFn = kernel_fn!(fn(*mut Socket, *mut DatagramIndication) -> NtStatus);
/// `PFN_WSK_SEND_MESSAGES`.
pub type SendMessagesFn =
    kernel_fn!(fn(*mut Socket, *mut BufList, u32, *mut SockAddr, u32, *mut ControlHeader, *mut Irp) -> NtStatus);
/// `PFN_WSK_INSPECT_COMPLETE`.
pub type InspectCompleteFn = kernel_fn!(fn(*mut Socket, *mut InspectId, InspectAction, *mut Irp) -> NtStatus);

/// A struct of `wsk.h`, for comparing with the C header.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The struct's name in C.
    pub c_name: &'static str,
    /// `sizeof`, bytes.
    pub size: usize,
    /// Field names in C and `offsetof`, bytes.
    pub fields: &'static [(&'static str, usize)],
}

/// Defines structs of function pointers and other plain fields together with their C names.
macro_rules! structs {
    ($($(#[$doc:meta])* $name:ident = $c_name:literal, $size:literal {
        $($(#[$field_doc:meta])* $field:ident: $kind:ty = $c_field:literal @ $offset:literal,)*
    })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug)]
        pub struct $name { $($(#[$field_doc])* #[doc = concat!("`", $c_field, "`.")] pub $field: $kind,)* }
        #[cfg(target_pointer_width = "64")]
        const _: () = {
            assert!(size_of::<$name>() == $size);
            $(assert!(core::mem::offset_of!($name, $field) == $offset);)*
        };
    )*
        const STRUCT_LAYOUTS: &[Layout] = &[$(Layout {
            c_name: $c_name,
            size: size_of::<$name>(),
            fields: &[$(($c_field, core::mem::offset_of!($name, $field)),)*],
        },)*];
    };
}

structs! {
    /// What a client registers: its context and its dispatch table. Both stay resident and unmoved until deregistration.
    ClientNpi = "WSK_CLIENT_NPI", 16 {
        client_context: *mut c_void = "ClientContext" @ 0,
        dispatch: *const ClientDispatch = "Dispatch" @ 8,
    }
    /// A client's dispatch table.
    ClientDispatch = "WSK_CLIENT_DISPATCH", 16 {
        version: u16 = "Version" @ 0,
        reserved: u16 = "Reserved" @ 2,
        client_event: ClientEventFn = "WskClientEvent" @ 8,
    }
    /// A registration's state, the WSK provider's own. It stays resident and unmoved from [`WskRegister`] to [`WskDeregister`].
    Registration = "WSK_REGISTRATION", 24 {
        state: u64 = "ReservedRegistrationState" @ 0,
        context: *mut c_void = "ReservedRegistrationContext" @ 8,
        lock: usize = "ReservedRegistrationLock" @ 16,
    }
    /// What a capture gives: the client's binding and the provider's functions, valid until the release.
    ProviderNpi = "WSK_PROVIDER_NPI", 16 {
        client: *mut Client = "Client" @ 0,
        dispatch: *const ProviderDispatch = "Dispatch" @ 8,
    }
    /// A text of UTF-16 units, and the room that there is for it.
    UnicodeString = "UNICODE_STRING", 16 {
        length: u16 = "Length" @ 0,
        maximum_length: u16 = "MaximumLength" @ 2,
        buffer: *mut u16 = "Buffer" @ 8,
    }
    /// Hints for [`ProviderDispatch::get_address_info`], and one of its results.
    AddressInfo = "ADDRINFOEXW", 72 {
        flags: i32 = "ai_flags" @ 0,
        family: i32 = "ai_family" @ 4,
        socket_type: i32 = "ai_socktype" @ 8,
        protocol: i32 = "ai_protocol" @ 12,
        address_length: usize = "ai_addrlen" @ 16,
        canonical_name: *mut u16 = "ai_canonname" @ 24,
        address: *mut SockAddr = "ai_addr" @ 32,
        blob: *mut c_void = "ai_blob" @ 40,
        blob_length: usize = "ai_bloblen" @ 48,
        provider: *mut Guid = "ai_provider" @ 56,
        next: *mut AddressInfo = "ai_next" @ 64,
    }
    /// The provider's functions.
    ProviderDispatch = "WSK_PROVIDER_DISPATCH", 56 {
        version: u16 = "Version" @ 0,
        reserved: u16 = "Reserved" @ 2,
        socket: SocketFn = "WskSocket" @ 8,
        socket_connect: SocketConnectFn = "WskSocketConnect" @ 16,
        control_client: ControlClientFn = "WskControlClient" @ 24,
        get_address_info: GetAddressInfoFn = "WskGetAddressInfo" @ 32,
        free_address_info: FreeAddressInfoFn = "WskFreeAddressInfo" @ 40,
        get_name_info: GetNameInfoFn = "WskGetNameInfo" @ 48,
    }
    /// Event callbacks of a connection-oriented socket.
    ClientConnectionDispatch = "WSK_CLIENT_CONNECTION_DISPATCH", 24 {
        receive_event: ReceiveEventFn = "WskReceiveEvent" @ 0,
        disconnect_event: DisconnectEventFn = "WskDisconnectEvent" @ 8,
        send_backlog_event: SendBacklogEventFn = "WskSendBacklogEvent" @ 16,
    }
    /// Event callbacks of a listening socket.
    ClientListenDispatch = "WSK_CLIENT_LISTEN_DISPATCH", 24 {
        accept_event: AcceptEventFn = "WskAcceptEvent" @ 0,
        inspect_event: InspectEventFn = "WskInspectEvent" @ 8,
        abort_event: AbortEventFn = "WskAbortEvent" @ 16,
    }
    /// Functions of every socket.
    BasicDispatch = "WSK_PROVIDER_BASIC_DISPATCH", 16 {
        control_socket: ControlSocketFn = "WskControlSocket" @ 0,
        close_socket: CloseSocketFn = "WskCloseSocket" @ 8,
    }
    /// Functions of a listening socket.
    ListenDispatch = "WSK_PROVIDER_LISTEN_DISPATCH", 48 {
        basic: BasicDispatch = "Basic" @ 0,
        bind: BindFn = "WskBind" @ 16,
        accept: AcceptFn = "WskAccept" @ 24,
        inspect_complete: InspectCompleteFn = "WskInspectComplete" @ 32,
        get_local_address: GetAddressFn = "WskGetLocalAddress" @ 40,
    }
    /// Functions of a connection-oriented socket.
    ConnectionDispatch = "WSK_PROVIDER_CONNECTION_DISPATCH", 104 {
        basic: BasicDispatch = "Basic" @ 0,
        bind: BindFn = "WskBind" @ 16,
        connect: ConnectFn = "WskConnect" @ 24,
        get_local_address: GetAddressFn = "WskGetLocalAddress" @ 32,
        get_remote_address: GetAddressFn = "WskGetRemoteAddress" @ 40,
        send: SendFn = "WskSend" @ 48,
        receive: ReceiveFn = "WskReceive" @ 56,
        disconnect: DisconnectFn = "WskDisconnect" @ 64,
        release: ReleaseDataFn = "WskRelease" @ 72,
        connect_ex: ConnectExFn = "WskConnectEx" @ 80,
        send_ex: *mut c_void = "WskSendEx" @ 88,
        receive_ex: *mut c_void = "WskReceiveEx" @ 96,
    }
    /// Functions of a stream socket, which can listen or connect.
    StreamDispatch = "WSK_PROVIDER_STREAM_DISPATCH", 120 {
        basic: BasicDispatch = "Basic" @ 0,
        bind: BindFn = "WskBind" @ 16,
        accept: AcceptFn = "WskAccept" @ 24,
        connect: ConnectFn = "WskConnect" @ 32,
        listen: ListenFn = "WskListen" @ 40,
        send: SendFn = "WskSend" @ 48,
        receive: ReceiveFn = "WskReceive" @ 56,
        disconnect: DisconnectFn = "WskDisconnect" @ 64,
        release: ReleaseDataFn = "WskRelease" @ 72,
        get_local_address: GetAddressFn = "WskGetLocalAddress" @ 80,
        get_remote_address: GetAddressFn = "WskGetRemoteAddress" @ 88,
        connect_ex: ConnectExFn = "WskConnectEx" @ 96,
        send_ex: *mut c_void = "WskSendEx" @ 104,
        receive_ex: *mut c_void = "WskReceiveEx" @ 112,
    }
    /// Functions of a datagram socket.
    DatagramDispatch = "WSK_PROVIDER_DATAGRAM_DISPATCH", 64 {
        basic: BasicDispatch = "Basic" @ 0,
        bind: BindFn = "WskBind" @ 16,
        send_to: SendToFn = "WskSendTo" @ 24,
        receive_from: ReceiveFromFn = "WskReceiveFrom" @ 32,
        release: ReleaseDatagramFn = "WskRelease" @ 40,
        get_local_address: GetAddressFn = "WskGetLocalAddress" @ 48,
        send_messages: SendMessagesFn = "WskSendMessages" @ 56,
    }
}

/// `WSK_CLIENT_DATAGRAM_DISPATCH`: event callback of a datagram socket. (Wine's header lacks it, and the next.)
#[repr(C)]
#[derive(Debug)]
pub struct ClientDatagramDispatch {
    /// `WskReceiveFromEvent`.
    pub receive_from_event: ReceiveFromEventFn,
}

/// `WSK_EVENT_CALLBACK_CONTROL`: what `SO_WSK_EVENT_CALLBACK` takes.
#[repr(C)]
#[derive(Debug)]
pub struct EventCallbackControl {
    /// `NpiId`.
    pub npi_id: *const Guid,
    /// `EventMask`.
    pub event_mask: u32,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<ClientDatagramDispatch>() == 8 && size_of::<EventCallbackControl>() == 16);

macro_rules! layout {
    ($name:ident, $c_name:literal, $($field:ident = $c_field:literal),*) => {
        Layout { c_name: $c_name, size: size_of::<$name>(), fields: &[$(($c_field, core::mem::offset_of!($name, $field))),*] }
    };
}

const PLAIN_LAYOUTS: &[Layout] = &[
    layout!(Socket, "WSK_SOCKET", dispatch = "Dispatch"),
    layout!(Buf, "WSK_BUF", mdl = "Mdl", offset = "Offset", length = "Length"),
    layout!(BufList, "WSK_BUF_LIST", next = "Next", buffer = "Buffer"),
    layout!(DataIndication, "WSK_DATA_INDICATION", next = "Next", buffer = "Buffer"),
    layout!(
        DatagramIndication,
        "WSK_DATAGRAM_INDICATION",
        next = "Next",
        buffer = "Buffer",
        control_info = "ControlInfo",
        control_info_length = "ControlInfoLength",
        remote_address = "RemoteAddress"
    ),
    layout!(InspectId, "WSK_INSPECT_ID", key = "Key", serial_number = "SerialNumber"),
    layout!(SockAddr, "SOCKADDR", family = "sa_family", data = "sa_data"),
    layout!(
        SockAddrIn,
        "SOCKADDR_IN",
        family = "sin_family",
        port = "sin_port",
        address = "sin_addr",
        zero = "sin_zero"
    ),
    layout!(
        SockAddrIn6,
        "SOCKADDR_IN6",
        family = "sin6_family",
        port = "sin6_port",
        flow_info = "sin6_flowinfo",
        address = "sin6_addr",
        scope_id = "sin6_scope_id"
    ),
    layout!(Guid, "GUID", data1 = "Data1", data2 = "Data2", data3 = "Data3", data4 = "Data4"),
];

/// Every struct of this crate, for comparing with the C headers: the dispatch tables, the plain structs, the kernel's objects.
pub const LAYOUTS: [&[Layout]; 3] = [STRUCT_LAYOUTS, PLAIN_LAYOUTS, crate::objects::LAYOUTS];

#[cfg(windows)]
#[link(name = "netio")]
unsafe extern "C" {
    /// Registers a client. `PASSIVE_LEVEL`. Source: `WskRegister` function.
    pub fn WskRegister(npi: *mut ClientNpi, registration: *mut Registration) -> NtStatus;
    /// Deregisters a client: waits for captures, sockets, calls and callbacks. `PASSIVE_LEVEL`. Source: `WskDeregister` function.
    pub fn WskDeregister(registration: *mut Registration);
    /// Captures the provider's NPI, waiting `timeout` milliseconds for it. `PASSIVE_LEVEL` when it may wait.
    /// Source: `WskCaptureProviderNPI` function.
    pub fn WskCaptureProviderNPI(registration: *mut Registration, timeout: u32, npi: *mut ProviderNpi) -> NtStatus;
    /// Gives a captured NPI back. `<= DISPATCH_LEVEL`. Source: `WskReleaseProviderNPI` function.
    pub fn WskReleaseProviderNPI(registration: *mut Registration);
}
