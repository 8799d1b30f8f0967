//! From bytes to a valid question.

use super::{LookUpRequest, Question};
use crate::irp::Irp;
use crate::target::Target;
use core::mem::offset_of;
use core::ptr::null_mut;
use wdk_sys::NTSTATUS;
use wsk::{NameQuestion, sys};
use wskclient_abi::{
    AF_INET, AF_INET6, AddressList, AddressToName, AddressToNameReply, NameToAddresses, Namespace, Provider, WsaError,
    hints,
};
use zerocopy::FromZeros;

impl LookUpRequest {
    /// Decodes and validates a request for addresses.
    ///
    /// # Errors
    /// See the fields of [`NameToAddresses`].
    pub fn addresses(irp: &Irp) -> Result<Self, NTSTATUS> {
        let input: NameToAddresses = irp.input()?;
        irp.output_fits::<AddressList>()?;
        Self::addresses_of(&input, irp.system_buffer()).map_err(WsaError::status)
    }

    fn addresses_of(input: &NameToAddresses, buffer: *mut u8) -> Result<Self, WsaError> {
        let namespace = namespace(input.provider)?;
        if input.flags & !hints::NAME_FLAGS != 0 {
            return Err(WsaError::Invalid);
        }
        check_hints(input)?;
        let node = text(&input.node, input.node_length, buffer.wrapping_add(offset_of!(NameToAddresses, node)))?;
        let service =
            text(&input.service, input.service_length, buffer.wrapping_add(offset_of!(NameToAddresses, service)))?;
        if input.flags & hints::CANONICAL_NAME != 0 && node.buffer.is_null() {
            return Err(WsaError::Invalid);
        }
        if node.buffer.is_null() && service.buffer.is_null() {
            return Err(WsaError::HostNotFound);
        }
        let own_flags = if namespace == Namespace::Numeric { hints::NUMERIC_HOST } else { 0 };
        let hints = sys::AddressInfo {
            flags: (input.flags | own_flags).cast_signed(),
            family: input.family.into(),
            socket_type: input.socket_type.into(),
            protocol: input.protocol.cast_signed(),
            ..NO_HINTS
        };
        let asked = namespace.entry().namespace;
        let question = NameQuestion { node, service, namespace: asked, hints, result: null_mut() };
        Ok(Self { namespace, question: Question::Addresses(question) })
    }

    /// Decodes and validates a request for names.
    ///
    /// # Errors
    /// See the fields of [`AddressToName`].
    pub fn names(irp: &Irp) -> Result<Self, NTSTATUS> {
        let input: AddressToName = irp.input()?;
        irp.output_fits::<AddressToNameReply>()?;
        Self::names_of(&input, irp.system_buffer()).map_err(WsaError::status)
    }

    fn names_of(input: &AddressToName, buffer: *mut u8) -> Result<Self, WsaError> {
        let namespace = namespace(input.provider)?;
        let own_flags = if namespace == Namespace::Numeric { hints::NUMBER_OF_HOST } else { 0 };
        let flags = input.flags | own_flags;
        let contradiction = hints::NAME_REQUIRED | hints::NUMBER_OF_HOST;
        if flags & !hints::ADDRESS_FLAGS != 0 || flags & contradiction == contradiction {
            return Err(WsaError::Invalid);
        }
        if input.address.family != AF_INET && input.address.family != AF_INET6 {
            return Err(WsaError::FamilyNotSupported);
        }
        if !input.address.is_valid() {
            return Err(WsaError::Invalid);
        }
        let room = |offset, units: usize| sys::UnicodeString {
            length: 0,
            maximum_length: u16::try_from(units * size_of::<u16>()).unwrap_or(0),
            buffer: buffer.wrapping_add(offset).cast(),
        };
        let AddressToNameReply { node, service, .. } = AddressToNameReply::new_zeroed();
        let names = [
            room(offset_of!(AddressToNameReply, node), node.len()),
            room(offset_of!(AddressToNameReply, service), service.len()),
        ];
        Ok(Self { namespace, question: Question::Names { address: input.address, names, flags } })
    }
}

/// Nothing asked for.
const NO_HINTS: sys::AddressInfo = sys::AddressInfo {
    flags: 0,
    family: 0,
    socket_type: 0,
    protocol: 0,
    address_length: 0,
    canonical_name: null_mut(),
    address: null_mut(),
    blob: null_mut(),
    blob_length: 0,
    provider: null_mut(),
    next: null_mut(),
};

fn namespace(guid: wskclient_abi::Guid) -> Result<Namespace, WsaError> {
    match Target::named(Provider::Namespace, &guid)? {
        Target::Namespace(namespace) => Ok(namespace),
        _ => Err(WsaError::Invalid),
    }
}

fn check_hints(input: &NameToAddresses) -> Result<(), WsaError> {
    if ![0, AF_INET, AF_INET6].contains(&input.family) {
        return Err(WsaError::FamilyNotSupported);
    }
    if ![0, hints::TCP, hints::UDP].contains(&input.protocol) {
        return Err(WsaError::ProtocolNotSupported);
    }
    match (input.socket_type, input.protocol) {
        (0, _) | (hints::STREAM, 0 | hints::TCP) | (hints::DATAGRAM, 0 | hints::UDP) => Ok(()),
        _ => Err(WsaError::SocketTypeNotSupported),
    }
}

/// A text of `units`, which lies at `place`; without a buffer if there is none.
fn text(units: &[u16], length: u16, place: *mut u8) -> Result<sys::UnicodeString, WsaError> {
    let units = units.get(..length.into()).ok_or(WsaError::Invalid)?;
    if units.contains(&0) {
        return Err(WsaError::Invalid);
    }
    let bytes = u16::try_from(size_of_val(units)).map_err(|_| WsaError::Invalid)?;
    let buffer = if bytes == 0 { null_mut() } else { place.cast() };
    Ok(sys::UnicodeString { length: bytes, maximum_length: bytes, buffer })
}
