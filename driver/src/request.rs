//! From bytes to a request: only decoding makes one, and what it makes is valid in itself.

use crate::irp::Irp;
use crate::names::LookUpRequest;
use crate::startup::StartupRequest;
use crate::target::Target;
use core::mem::offset_of;
use core::ptr::NonNull;
use wdk_sys::{MDL, NTSTATUS};
use wsk::sys::{AddressFamily, SockAddr};
use wskclient_abi::{
    AF_INET, AF_INET6, Accept, AcceptReply, Address, AddressOf, AddressReply, Bind, Cleanup, Close, Connect, Events,
    EventsReply, GetOption, Guid, IoControl, Ioctl, Ledger, Listen, OptionValue, PendingList, PendingQuery, Provider,
    ReceivedFrom, Role, SendTo, SetOption, Shutdown, SocketControl, SocketHandle, SocketOpen, SocketOption,
    SocketReply, Transfer, VersionReply, WsaError,
};

/// `STATUS_INVALID_DEVICE_REQUEST`: there is no such request.
const INVALID_DEVICE_REQUEST: NTSTATUS = 0xC000_0010_u32.cast_signed();
/// `STATUS_BUFFER_TOO_SMALL`.
const BUFFER_TOO_SMALL: NTSTATUS = 0xC000_0023_u32.cast_signed();
/// `IPPROTO_TCP`.
const TCP: u32 = wsk::sys::IPPROTO_TCP;
/// `IPPROTO_UDP`.
const UDP: u32 = wsk::sys::IPPROTO_UDP;

/// A valid request.
pub enum Request {
    /// Versions.
    Version,
    /// The ledger.
    Ledger,
    /// What is pending: of this client, or of everybody.
    LedgerPending {
        /// Every client's.
        everybody: bool,
    },
    /// A startup.
    Startup(StartupRequest),
    /// A cleanup.
    Cleanup(Target),
    /// A new socket.
    Socket {
        /// What it belongs to.
        target: Target,
        /// Its address family.
        family: AddressFamily,
        /// What it is for.
        role: Role,
    },
    /// Blocking calls are cancelled.
    CancelBlocking,
    /// A look-up.
    LookUp(LookUpRequest),
    /// A request on a socket.
    OnSocket(SocketHandle, SocketRequest),
}

/// What is asked of a socket. Addresses and data lie in the IRP's buffers, which stay until the IRP completes.
pub enum SocketRequest {
    /// Bind to an address.
    Bind(AddressFamily, NonNull<SockAddr>),
    /// Listen.
    Listen,
    /// Accept.
    Accept,
    /// Connect to an address.
    Connect(AddressFamily, NonNull<SockAddr>),
    /// Send data.
    Send(Data),
    /// Receive data.
    Receive(Data, u32),
    /// Send a datagram to an address, or to the peer.
    SendTo(Data, Option<(AddressFamily, NonNull<SockAddr>)>),
    /// Receive a datagram, and where it came from.
    ReceiveFrom(Data),
    /// Say the local address.
    LocalAddress,
    /// Say the peer's address.
    PeerAddress,
    /// Say an option's value.
    GetOption(SocketOption),
    /// Set an option to the value that lies in the input.
    SetOption(SocketOption, [u8; 4]),
    /// Do an I/O control.
    Control(SocketControl),
    /// Wait for events.
    Events(u32),
    /// End the connection, with WSK's flags.
    Shutdown(u32),
    /// Close as the socket's option says.
    Close,
    /// Close gracefully, within so many milliseconds, or the driver's deadline.
    CloseGracefully(Option<u32>),
}

/// Data within a caller's buffer, which is locked.
pub struct Data {
    /// The buffer's MDL; null if it has no bytes.
    pub mdl: *mut MDL,
    /// Where in the buffer the data begins, bytes.
    pub offset: u32,
    /// Its length, bytes.
    pub length: usize,
}

impl Request {
    /// Decodes and validates.
    ///
    /// # Errors
    /// `STATUS_INVALID_DEVICE_REQUEST` for an unknown code; then `WSAEFAULT` for a wrong length; then what is wrong with a field.
    pub fn decode(irp: &Irp) -> Result<Self, NTSTATUS> {
        let (code, ..) = irp.device_control();
        let ioctl = Ioctl::from_code(code).ok_or(INVALID_DEVICE_REQUEST)?;
        match ioctl {
            Ioctl::Version => without_input::<VersionReply>(irp).map(|()| Self::Version),
            Ioctl::Ledger => without_input::<Ledger>(irp).map(|()| Self::Ledger),
            Ioctl::LedgerPending => {
                let PendingQuery { scope, reserved } = irp.input()?;
                irp.output_fits::<PendingList>()?;
                zero(&[reserved])?;
                match scope {
                    PendingQuery::OWN => Ok(Self::LedgerPending { everybody: false }),
                    PendingQuery::ALL => Ok(Self::LedgerPending { everybody: true }),
                    _ => Err(WsaError::Invalid.status()),
                }
            }
            Ioctl::Startup => StartupRequest::decode(irp).map(Self::Startup),
            Ioctl::Cleanup => decode_cleanup(irp),
            Ioctl::CancelBlocking => irp.no_input().map(|()| Self::CancelBlocking),
            Ioctl::NameToAddresses => LookUpRequest::addresses(irp).map(Self::LookUp),
            Ioctl::AddressToName => LookUpRequest::names(irp).map(Self::LookUp),
            Ioctl::Socket => decode_open(irp),
            Ioctl::Bind => {
                let Bind { socket, address, reserved } = irp.input()?;
                zero(&[reserved])?;
                address_at(irp, &address, offset_of!(Bind, address))
                    .map(|at| Self::OnSocket(socket, SocketRequest::Bind(address.family, at)))
            }
            Ioctl::Listen => {
                let Listen { socket, backlog, reserved } = irp.input()?;
                zero(&[reserved])?;
                if backlog == 0 {
                    Err(WsaError::Invalid.status())
                } else {
                    Ok(Self::OnSocket(socket, SocketRequest::Listen))
                }
            }
            Ioctl::Accept => {
                let Accept { socket } = irp.input()?;
                irp.output_fits::<AcceptReply>()?;
                Ok(Self::OnSocket(socket, SocketRequest::Accept))
            }
            Ioctl::Connect => {
                let Connect { socket, address, reserved } = irp.input()?;
                zero(&[reserved])?;
                let at = address_at(irp, &address, offset_of!(Connect, address))?;
                if address.port() == 0 {
                    return Err(WsaError::AddressNotAvailable.status());
                }
                Ok(Self::OnSocket(socket, SocketRequest::Connect(address.family, at)))
            }
            Ioctl::Send => {
                let Transfer { socket, flags, reserved } = irp.input()?;
                let data = data(irp)?;
                zero(&[flags, reserved])?;
                Ok(Self::OnSocket(socket, SocketRequest::Send(data)))
            }
            Ioctl::Receive => {
                let Transfer { socket, flags, reserved } = irp.input()?;
                let data = data(irp)?;
                zero(&[reserved])?;
                receive_flags(flags).map(|flags| Self::OnSocket(socket, SocketRequest::Receive(data, flags)))
            }
            Ioctl::SendTo => decode_send_to(irp),
            Ioctl::ReceiveFrom => decode_receive_from(irp),
            Ioctl::GetOption | Ioctl::SetOption | Ioctl::IoControl | Ioctl::Events => decode_control(irp, ioctl),
            Ioctl::Address => {
                let AddressOf { socket, end, reserved } = irp.input()?;
                irp.output_fits::<AddressReply>()?;
                zero(&[reserved])?;
                match end {
                    AddressOf::LOCAL => Ok(Self::OnSocket(socket, SocketRequest::LocalAddress)),
                    AddressOf::PEER => Ok(Self::OnSocket(socket, SocketRequest::PeerAddress)),
                    _ => Err(WsaError::Invalid.status()),
                }
            }
            Ioctl::Shutdown => {
                let Shutdown { socket, how, reserved } = irp.input()?;
                zero(&[reserved])?;
                match how {
                    Shutdown::SEND => Ok(Self::OnSocket(socket, SocketRequest::Shutdown(0))),
                    Shutdown::ABORT => Ok(Self::OnSocket(socket, SocketRequest::Shutdown(wsk::sys::FLAG_ABORTIVE))),
                    _ => Err(WsaError::Invalid.status()),
                }
            }
            Ioctl::Close => {
                let Close { socket, flags, linger } = irp.input()?;
                close_of(flags, linger).map(|request| Self::OnSocket(socket, request))
            }
        }
    }
}

/// A cleanup. Not every provider's knows `WSAEINVAL` (contract: SAN-2).
fn decode_cleanup(irp: &Irp) -> Result<Request, NTSTATUS> {
    let Cleanup { provider, reserved, guid } = irp.input()?;
    let provider = provider_of(provider)?;
    let named = zero(&[reserved]).and_then(|()| Target::named(provider, &guid).map_err(WsaError::status));
    named.map(Request::Cleanup).map_err(|status| {
        let unknown = status == WsaError::Invalid.status() && !provider.policy().cleanup_knows_invalid;
        if unknown { WsaError::Fault.status() } else { status }
    })
}

fn decode_open(irp: &Irp) -> Result<Request, NTSTATUS> {
    let SocketOpen { provider, family, role, protocol, reserved } = irp.input()?;
    irp.output_fits::<SocketReply>()?;
    zero(&[reserved])?;
    let target = Target::named(provider_of(provider)?, &Guid::NIL).ok().filter(|target| target.policy().has_sockets);
    let target = target.ok_or(WsaError::NotSupported.status())?;
    check_family(family)?;
    let role = Role::from_number(role).ok_or(WsaError::SocketTypeNotSupported.status())?;
    check_protocol(role, protocol)?;
    Ok(Request::Socket { target, family, role })
}

fn check_protocol(role: Role, protocol: u32) -> Result<(), NTSTATUS> {
    match (role, protocol) {
        (_, 0) | (Role::Listen | Role::Connection, TCP) | (Role::Datagram, UDP) => Ok(()),
        (_, TCP | UDP) => Err(WsaError::WrongProtocolType.status()),
        _ => Err(WsaError::ProtocolNotSupported.status()),
    }
}

fn decode_receive_from(irp: &Irp) -> Result<Request, NTSTATUS> {
    let Transfer { socket, flags, reserved } = irp.input()?;
    let data = data(irp)?;
    let length = data.length.checked_sub(size_of::<ReceivedFrom>()).ok_or(BUFFER_TOO_SMALL)?;
    zero(&[flags, reserved])?;
    let data = Data { offset: ReceivedFrom::LENGTH, length, ..data };
    Ok(Request::OnSocket(socket, SocketRequest::ReceiveFrom(data)))
}

/// Options, I/O controls and events.
fn decode_control(irp: &Irp, ioctl: Ioctl) -> Result<Request, NTSTATUS> {
    match ioctl {
        Ioctl::GetOption => {
            let GetOption { socket, level, name } = irp.input()?;
            irp.output_fits::<OptionValue>()?;
            let option = SocketOption::find(level, name).map_err(WsaError::status)?;
            Ok(Request::OnSocket(socket, SocketRequest::GetOption(option)))
        }
        Ioctl::SetOption => {
            let SetOption { socket, level, name, length, value } = irp.input()?;
            let option = SocketOption::find(level, name).map_err(WsaError::status)?;
            match (option.is_settable(), length) {
                (false, _) => Err(WsaError::NoProtocolOption.status()),
                (true, SocketOption::LENGTH) => Ok(Request::OnSocket(socket, SocketRequest::SetOption(option, value))),
                (true, _) => Err(WsaError::Fault.status()),
            }
        }
        Ioctl::Events => {
            let Events { socket, mask, reserved } = irp.input()?;
            irp.output_fits::<EventsReply>()?;
            zero(&[reserved])?;
            if mask == 0 || mask & !Events::EVERY != 0 {
                return Err(WsaError::Invalid.status());
            }
            Ok(Request::OnSocket(socket, SocketRequest::Events(mask)))
        }
        _ => {
            let IoControl { socket, code, reserved } = irp.input()?;
            irp.output_fits::<OptionValue>()?;
            zero(&[reserved])?;
            let control = SocketControl::find(code).map_err(WsaError::status)?;
            Ok(Request::OnSocket(socket, SocketRequest::Control(control)))
        }
    }
}

fn decode_send_to(irp: &Irp) -> Result<Request, NTSTATUS> {
    let SendTo { socket, address, reserved } = irp.input()?;
    let data = data(irp)?;
    zero(&[reserved])?;
    if address.is_unspecified() {
        return Ok(Request::OnSocket(socket, SocketRequest::SendTo(data, None)));
    }
    let at = address_at(irp, &address, offset_of!(SendTo, address))?;
    if address.port() == 0 {
        return Err(WsaError::AddressNotAvailable.status());
    }
    Ok(Request::OnSocket(socket, SocketRequest::SendTo(data, Some((address.family, at)))))
}

fn without_input<Reply>(irp: &Irp) -> Result<(), NTSTATUS> {
    irp.no_input()?;
    irp.output_fits::<Reply>()
}

fn zero(fields: &[u32]) -> Result<(), NTSTATUS> {
    if fields.iter().all(|&field| field == 0) { Ok(()) } else { Err(WsaError::Invalid.status()) }
}

fn provider_of(number: u32) -> Result<Provider, NTSTATUS> {
    Provider::from_number(number).ok_or(WsaError::Invalid.status())
}

fn check_family(family: AddressFamily) -> Result<(), NTSTATUS> {
    if family == AF_INET || family == AF_INET6 { Ok(()) } else { Err(WsaError::FamilyNotSupported.status()) }
}

/// An address that lies in the input at `offset`.
fn address_at(irp: &Irp, address: &Address, offset: usize) -> Result<NonNull<SockAddr>, NTSTATUS> {
    check_family(address.family)?;
    if !address.is_valid() {
        return Err(WsaError::Invalid.status());
    }
    NonNull::new(irp.system_buffer().wrapping_add(offset).cast()).ok_or(WsaError::Fault.status())
}

fn data(irp: &Irp) -> Result<Data, NTSTATUS> {
    irp.data().map(|(mdl, length)| Data { mdl, offset: 0, length })
}

fn close_of(flags: u32, linger: u32) -> Result<SocketRequest, NTSTATUS> {
    match (flags, linger) {
        (0, 0) => Ok(SocketRequest::Close),
        (Close::LINGER, 0) => Ok(SocketRequest::CloseGracefully(None)),
        (Close::LINGER, 1..=Close::LONGEST_LINGER) => Ok(SocketRequest::CloseGracefully(Some(linger))),
        _ => Err(WsaError::Invalid.status()),
    }
}

fn receive_flags(flags: u32) -> Result<u32, NTSTATUS> {
    match flags {
        0 => Ok(0),
        Transfer::WAIT_ALL => Ok(wsk::sys::FLAG_WAITALL),
        _ => Err(WsaError::Invalid.status()),
    }
}
