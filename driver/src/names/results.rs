//! From WSK's list of results to the caller's buffer.

use crate::irp::Irp;
use core::ptr::NonNull;
use wdk_sys::NTSTATUS;
use wsk::sys;
use wskclient_abi::{AF_INET, AF_INET6, Address, AddressList, ResolvedAddress, WsaError};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Writes an [`AddressList`] and the addresses that fit after it; their length, bytes.
///
/// # Safety
/// `list` is a list that WSK made, and has not got back.
pub unsafe fn write(list: NonNull<sys::AddressInfo>, irp: &mut Irp) -> Result<usize, NTSTATUS> {
    let (_, _, room) = irp.device_control();
    let (header_length, entry_length) = (size_of::<AddressList>(), size_of::<ResolvedAddress>());
    let fit = room.saturating_sub(header_length) / entry_length;
    // SAFETY: the caller's promise.
    let found = unsafe { Results::of(list) }.count();
    let length = header_length.saturating_add(entry_length.saturating_mul(found.min(fit)));
    let reply = irp.zeroed_output(length).ok_or(WsaError::Fault.status())?;
    let (head, places) = AddressList::mut_from_prefix(reply).map_err(|_| WsaError::Fault.status())?;
    if found == 0 {
        return Err(WsaError::NoData.status());
    }
    head.found = u32::try_from(found).unwrap_or(u32::MAX);
    head.returned = u32::try_from(found.min(fit)).unwrap_or(0);
    // SAFETY: the caller's promise.
    let first = unsafe { list.as_ref() };
    // SAFETY: null, or a terminated text of the list's.
    let name = unsafe { Terminated::new(first.canonical_name) };
    for (place, unit) in head.canonical_name.iter_mut().zip(name) {
        *place = unit;
        head.canonical_name_length += 1;
    }
    // SAFETY: the caller's promise.
    for (place, result) in places.chunks_exact_mut(entry_length).zip(unsafe { Results::of(list) }) {
        place.copy_from_slice(result.as_bytes());
    }
    Ok(length)
}

/// The addresses of a list of WSK's, those of other families left out.
struct Results(*const sys::AddressInfo);

impl Results {
    /// # Safety
    /// `list` stays while the value is in use.
    const unsafe fn of(list: NonNull<sys::AddressInfo>) -> Self {
        Self(list.as_ptr())
    }
}

impl Iterator for Results {
    type Item = ResolvedAddress;

    fn next(&mut self) -> Option<ResolvedAddress> {
        loop {
            // SAFETY: null at the end, or the next of the list, which stays.
            let info = unsafe { self.0.as_ref() }?;
            self.0 = info.next;
            // SAFETY: a result's address has the length that it says.
            if let Some(address) = unsafe { address_of(info) } {
                return Some(ResolvedAddress {
                    address,
                    socket_type: u16::try_from(info.socket_type).unwrap_or(0),
                    reserved: 0,
                    protocol: u32::try_from(info.protocol).unwrap_or(0),
                });
            }
        }
    }
}

/// A result's address, if it is one of ours.
///
/// # Safety
/// `info` is a result of WSK's.
unsafe fn address_of(info: &sys::AddressInfo) -> Option<Address> {
    let length = match u16::try_from(info.family) {
        Ok(AF_INET) => size_of::<sys::SockAddrIn>(),
        Ok(AF_INET6) => size_of::<sys::SockAddrIn6>(),
        _ => return None,
    };
    let from = NonNull::new(info.address).filter(|_| info.address_length >= length)?;
    // SAFETY: that many bytes are there.
    let bytes = unsafe { core::slice::from_raw_parts(from.as_ptr().cast::<u8>(), length) };
    let mut address = Address::new_zeroed();
    address.as_mut_bytes().get_mut(..length)?.copy_from_slice(bytes);
    Some(address)
}

/// The units of a terminated text.
struct Terminated(*const u16);

impl Terminated {
    /// # Safety
    /// `text` is null, or points to a terminated text that stays while the value is in use.
    const unsafe fn new(text: *const u16) -> Self {
        Self(text)
    }
}

impl Iterator for Terminated {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        // SAFETY: null, or within the text.
        let unit = unsafe { self.0.as_ref() }.copied().filter(|&unit| unit != 0)?;
        self.0 = self.0.wrapping_add(1);
        Some(unit)
    }
}
