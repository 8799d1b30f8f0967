//! Names for what a request can end with: NTSTATUS, its name, and the Winsock code that it stands for.

use crate::abi::{NtStatus, WsaError};
use std::fmt;

/// `STATUS_CANCELLED`.
pub(crate) const STATUS_CANCELLED: NtStatus = 0xC000_0120_u32.cast_signed();
/// `STATUS_ACCESS_DENIED`.
pub(crate) const STATUS_ACCESS_DENIED: NtStatus = 0xC000_0022_u32.cast_signed();
/// `STATUS_INVALID_DEVICE_REQUEST`: what the driver answers to a control code that it does not know.
pub(crate) const STATUS_INVALID_DEVICE_REQUEST: NtStatus = 0xC000_0010_u32.cast_signed();
/// `STATUS_INVALID_HANDLE`.
pub(crate) const STATUS_INVALID_HANDLE: NtStatus = 0xC000_0008_u32.cast_signed();

pub(crate) const NAMES: &[(u32, &str)] = &[
    (0x0000_0000, "STATUS_SUCCESS"),
    (0x0000_0102, "STATUS_TIMEOUT"),
    (0x0000_0103, "STATUS_PENDING"),
    (0x8000_0005, "STATUS_BUFFER_OVERFLOW"),
    (0xC000_0001, "STATUS_UNSUCCESSFUL"),
    (0xC000_0002, "STATUS_NOT_IMPLEMENTED"),
    (0xC000_0004, "STATUS_INFO_LENGTH_MISMATCH"),
    (0xC000_0005, "STATUS_ACCESS_VIOLATION"),
    (0xC000_0008, "STATUS_INVALID_HANDLE"),
    (0xC000_000D, "STATUS_INVALID_PARAMETER"),
    (0xC000_000E, "STATUS_NO_SUCH_DEVICE"),
    (0xC000_0010, "STATUS_INVALID_DEVICE_REQUEST"),
    (0xC000_0017, "STATUS_NO_MEMORY"),
    (0xC000_0022, "STATUS_ACCESS_DENIED"),
    (0xC000_0023, "STATUS_BUFFER_TOO_SMALL"),
    (0xC000_0034, "STATUS_OBJECT_NAME_NOT_FOUND"),
    (0xC000_003A, "STATUS_OBJECT_PATH_NOT_FOUND"),
    (0xC000_0043, "STATUS_SHARING_VIOLATION"),
    (0xC000_0044, "STATUS_QUOTA_EXCEEDED"),
    (0xC000_009A, "STATUS_INSUFFICIENT_RESOURCES"),
    (0xC000_00A3, "STATUS_DEVICE_NOT_READY"),
    (0xC000_00B0, "STATUS_PIPE_DISCONNECTED"),
    (0xC000_00B5, "STATUS_IO_TIMEOUT"),
    (0xC000_00B6, "STATUS_FILE_FORCED_CLOSED"),
    (0xC000_00BB, "STATUS_NOT_SUPPORTED"),
    (0xC000_00BE, "STATUS_BAD_NETWORK_PATH"),
    (0xC000_011F, "STATUS_TOO_MANY_OPENED_FILES"),
    (0xC000_0120, "STATUS_CANCELLED"),
    (0xC000_0128, "STATUS_FILE_CLOSED"),
    (0xC000_013B, "STATUS_LOCAL_DISCONNECT"),
    (0xC000_013C, "STATUS_REMOTE_DISCONNECT"),
    (0xC000_013D, "STATUS_REMOTE_RESOURCES"),
    (0xC000_013E, "STATUS_LINK_FAILED"),
    (0xC000_013F, "STATUS_LINK_TIMEOUT"),
    (0xC000_0140, "STATUS_INVALID_CONNECTION"),
    (0xC000_0141, "STATUS_INVALID_ADDRESS"),
    (0xC000_0184, "STATUS_INVALID_DEVICE_STATE"),
    (0xC000_0206, "STATUS_INVALID_BUFFER_SIZE"),
    (0xC000_0207, "STATUS_INVALID_ADDRESS_COMPONENT"),
    (0xC000_0209, "STATUS_TOO_MANY_ADDRESSES"),
    (0xC000_020A, "STATUS_ADDRESS_ALREADY_EXISTS"),
    (0xC000_020C, "STATUS_CONNECTION_DISCONNECTED"),
    (0xC000_020D, "STATUS_CONNECTION_RESET"),
    (0xC000_0225, "STATUS_NOT_FOUND"),
    (0xC000_0236, "STATUS_CONNECTION_REFUSED"),
    (0xC000_0237, "STATUS_GRACEFUL_DISCONNECT"),
    (0xC000_0238, "STATUS_ADDRESS_ALREADY_ASSOCIATED"),
    (0xC000_023B, "STATUS_CONNECTION_ACTIVE"),
    (0xC000_023C, "STATUS_NETWORK_UNREACHABLE"),
    (0xC000_023D, "STATUS_HOST_UNREACHABLE"),
    (0xC000_023E, "STATUS_PROTOCOL_UNREACHABLE"),
    (0xC000_023F, "STATUS_PORT_UNREACHABLE"),
    (0xC000_0241, "STATUS_CONNECTION_ABORTED"),
    (0xC000_0272, "STATUS_NO_MATCH"),
    (0xC000_A013, "STATUS_PROTOCOL_NOT_SUPPORTED"),
];

/// The name of an NTSTATUS that the driver or its surroundings answer.
#[must_use]
pub fn status_name(status: NtStatus) -> Option<&'static str> {
    let value = status.cast_unsigned();
    NAMES.iter().find(|(number, _)| *number == value).map(|(_, name)| *name)
}

/// An NTSTATUS as a person reads it: Winsock name and number where there is one, then the NTSTATUS in hex and by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusText(pub NtStatus);

impl fmt::Display for StatusText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = WsaError::from_status(self.0) {
            write!(formatter, "{} ({}), ", error.name(), error.code())?;
        }
        write!(formatter, "NTSTATUS {:#010X}", self.0)?;
        match status_name(self.0) {
            Some(name) => write!(formatter, " {name}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_with_its_winsock_name_and_number() {
        assert_eq!(
            StatusText(STATUS_CANCELLED).to_string(),
            "WSA_OPERATION_ABORTED (995), NTSTATUS 0xC0000120 STATUS_CANCELLED"
        );
        assert_eq!(
            StatusText(WsaError::NotInitialised.status()).to_string(),
            "WSANOTINITIALISED (10093), NTSTATUS 0xE057276D"
        );
        assert_eq!(StatusText(0).to_string(), "NTSTATUS 0x00000000 STATUS_SUCCESS");
    }

    #[test]
    fn every_natural_status_of_a_winsock_error_has_a_name() {
        for &error in WsaError::ALL {
            let customer = error.status().cast_unsigned() >> 29 & 1 == 1;
            assert_eq!(status_name(error.status()).is_some(), !customer, "{}", error.name());
        }
        for status in (0xC000_0000..0xC000_1000_u32).map(u32::cast_signed) {
            assert!(WsaError::from_status(status).is_none() || status_name(status).is_some(), "{status:#X}");
        }
    }

    #[test]
    fn the_names_are_in_order_and_none_comes_twice() {
        assert!(NAMES.is_sorted_by(|left, right| left.0 < right.0));
    }
}
