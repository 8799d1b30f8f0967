//! What fails, and why.

use crate::{OutOfPool, sys::NtStatus};

/// Why something failed. Everything that fails here has changed nothing that its documentation does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Pool ran out.
    OutOfMemory,
    /// The client has not captured the provider: see [`Client::capture`](crate::Client::capture).
    NotCaptured,
    /// The client is being deregistered, or was.
    Deregistered,
    /// The socket is closed, or being closed, by this client.
    Closed,
    /// The one thing of its kind that may be under way is: an accept on this listener, a capture of this client.
    Busy,
    /// It was cancelled: by its owner, by the close of its socket, or by the provider.
    Cancelled,
    /// It has not come to its end within the limit, and is still under way.
    TimedOut,
    /// A length that can't be: of a buffer that is empty or too long, or of bytes that don't fit.
    Length,
    /// An address of another family than the socket's.
    Family,
    /// The provider has no such function.
    NotImplemented,
    /// WSK or the kernel answered so.
    Failed(NtStatus),
}

/// `STATUS_INSUFFICIENT_RESOURCES`.
const INSUFFICIENT_RESOURCES: NtStatus = 0xC000_009A_u32.cast_signed();
/// `STATUS_CANCELLED`.
const CANCELLED: NtStatus = 0xC000_0120_u32.cast_signed();
/// `STATUS_DEVICE_NOT_READY`.
const DEVICE_NOT_READY: NtStatus = 0xC000_00A3_u32.cast_signed();
/// `STATUS_DELETE_PENDING`.
const DELETE_PENDING: NtStatus = 0xC000_0056_u32.cast_signed();
/// `STATUS_FILE_CLOSED`.
const FILE_CLOSED: NtStatus = 0xC000_0128_u32.cast_signed();
/// `STATUS_DEVICE_BUSY`.
const DEVICE_BUSY: NtStatus = 0x8000_0011_u32.cast_signed();
/// `STATUS_IO_TIMEOUT`: an error, where `STATUS_TIMEOUT` passes for a success.
const IO_TIMEOUT: NtStatus = 0xC000_00B5_u32.cast_signed();
/// `STATUS_INVALID_BUFFER_SIZE`.
const INVALID_BUFFER_SIZE: NtStatus = 0xC000_0206_u32.cast_signed();
/// `STATUS_INVALID_ADDRESS_COMPONENT`.
const INVALID_ADDRESS_COMPONENT: NtStatus = 0xC000_0207_u32.cast_signed();

impl Error {
    /// What a status other than `STATUS_SUCCESS` means. No other status is a success: `STATUS_TIMEOUT`, for one, passes `NT_SUCCESS`.
    #[must_use]
    pub const fn of_status(status: NtStatus) -> Self {
        match status {
            INSUFFICIENT_RESOURCES => Self::OutOfMemory,
            CANCELLED => Self::Cancelled,
            crate::NOT_IMPLEMENTED => Self::NotImplemented,
            status => Self::Failed(status),
        }
    }

    /// `STATUS_SUCCESS`, or what the status means.
    ///
    /// # Errors
    /// For every other status.
    pub const fn check(status: NtStatus) -> Result<(), Self> {
        if status == 0 { Ok(()) } else { Err(Self::of_status(status)) }
    }

    /// The status to answer with where one is wanted. Never a success.
    #[must_use]
    pub const fn status(self) -> NtStatus {
        /// `STATUS_UNSUCCESSFUL`.
        const UNSUCCESSFUL: NtStatus = 0xC000_0001_u32.cast_signed();
        match self {
            Self::OutOfMemory => INSUFFICIENT_RESOURCES,
            Self::NotCaptured => DEVICE_NOT_READY,
            Self::Deregistered => DELETE_PENDING,
            Self::Closed => FILE_CLOSED,
            Self::Busy => DEVICE_BUSY,
            Self::Cancelled => CANCELLED,
            Self::TimedOut => IO_TIMEOUT,
            Self::Length => INVALID_BUFFER_SIZE,
            Self::Family => INVALID_ADDRESS_COMPONENT,
            Self::NotImplemented => crate::NOT_IMPLEMENTED,
            Self::Failed(status) if status < 0 => status,
            Self::Failed(_) => UNSUCCESSFUL,
        }
    }
}

impl From<OutOfPool> for Error {
    fn from(OutOfPool: OutOfPool) -> Self {
        Self::OutOfMemory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_is_a_success() {
        const TIMEOUT: NtStatus = 0x102;
        const PENDING: NtStatus = 0x103;
        assert_eq!(Error::check(0), Ok(()));
        for status in [TIMEOUT, PENDING, 1, i32::MAX, -1, i32::MIN] {
            assert_eq!(Error::check(status), Err(Error::Failed(status)), "{status:#x}");
        }
        assert_eq!(Error::check(CANCELLED), Err(Error::Cancelled));
        assert_eq!(Error::check(INSUFFICIENT_RESOURCES), Err(Error::OutOfMemory));
        assert_eq!(Error::check(crate::NOT_IMPLEMENTED), Err(Error::NotImplemented));
    }

    #[test]
    fn no_error_is_answered_with_a_status_that_nt_success_takes_for_one() {
        let errors = [
            Error::OutOfMemory,
            Error::NotCaptured,
            Error::Deregistered,
            Error::Closed,
            Error::Busy,
            Error::Cancelled,
            Error::TimedOut,
            Error::Length,
            Error::Family,
            Error::NotImplemented,
            Error::Failed(0x102),
            Error::Failed(-1),
        ];
        for error in errors {
            assert!(error.status() < 0, "{error:?}");
        }
    }
}
