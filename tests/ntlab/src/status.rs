//! NTSTATUS values, by name where the lab uses them.

use std::fmt;

/// A Windows status code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NtStatus(pub i32);

macro_rules! statuses {
    ($($name:ident = $value:literal),* $(,)?) => {
        impl NtStatus {
            $(
                #[doc = concat!("`STATUS_", stringify!($name), "`.")]
                pub const $name: Self = Self(u32::cast_signed($value));
            )*

            /// The constant's name in `ntstatus.h`, when the lab knows it.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $( Self::$name => Some(concat!("STATUS_", stringify!($name))), )*
                    _ => None,
                }
            }

            /// The value of a constant of `ntstatus.h`, when the lab knows it: `STATUS_CANCELLED`.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                let all = [$( (concat!("STATUS_", stringify!($name)), Self::$name) ),*];
                all.into_iter().find(|(known, _)| *known == name).map(|(_, status)| status)
            }
        }
    };
}

statuses! {
    SUCCESS = 0x0000_0000, WAIT_1 = 0x0000_0001, ABANDONED = 0x0000_0080, USER_APC = 0x0000_00c0,
    ALERTED = 0x0000_0101, TIMEOUT = 0x0000_0102, PENDING = 0x0000_0103, EVENT_PENDING = 0x4000_0013,
    BUFFER_OVERFLOW = 0x8000_0005, NO_MORE_ENTRIES = 0x8000_001a, UNSUCCESSFUL = 0xc000_0001,
    NOT_IMPLEMENTED = 0xc000_0002, INVALID_HANDLE = 0xc000_0008, INVALID_PARAMETER = 0xc000_000d,
    NO_SUCH_DEVICE = 0xc000_000e, INVALID_DEVICE_REQUEST = 0xc000_0010, END_OF_FILE = 0xc000_0011,
    MORE_PROCESSING_REQUIRED = 0xc000_0016, NO_MEMORY = 0xc000_0017, ACCESS_DENIED = 0xc000_0022,
    BUFFER_TOO_SMALL = 0xc000_0023, OBJECT_TYPE_MISMATCH = 0xc000_0024, OBJECT_NAME_INVALID = 0xc000_0033,
    OBJECT_NAME_NOT_FOUND = 0xc000_0034, OBJECT_NAME_COLLISION = 0xc000_0035, UNKNOWN_REVISION = 0xc000_0058,
    INVALID_SECURITY_DESCR = 0xc000_0079, INSUFFICIENT_RESOURCES = 0xc000_009a, DEVICE_NOT_READY = 0xc000_00a3,
    NOT_SUPPORTED = 0xc000_00bb, INVALID_PARAMETER_1 = 0xc000_00ef, CANCELLED = 0xc000_0120,
    DELETE_PENDING = 0xc000_0056, FILE_CLOSED = 0xc000_0128, INVALID_DEVICE_STATE = 0xc000_0184,
    CONNECTION_RESET = 0xc000_020d, ADDRESS_ALREADY_EXISTS = 0xc000_020a, CONNECTION_REFUSED = 0xc000_0236,
    CONNECTION_ABORTED = 0xc000_0241, CONNECTION_DISCONNECTED = 0xc000_020c, IO_TIMEOUT = 0xc000_00b5,
    NETWORK_UNREACHABLE = 0xc000_023c, HOST_UNREACHABLE = 0xc000_023d, NOINTERFACE = 0xc000_02b9,
    NOT_FOUND = 0xc000_0225, PROCESS_IS_TERMINATING = 0xc000_010a, IMAGE_ALREADY_LOADED = 0xc000_010e,
    INVALID_IMAGE_FORMAT = 0xc000_007b, UNEXPECTED_IO_ERROR = 0xc000_00e9,
    DEVICE_BUSY = 0x8000_0011, INTEGER_OVERFLOW = 0xc000_0095,
}

impl NtStatus {
    /// The status in the register that a routine returned it in: only the low half counts.
    #[expect(clippy::cast_possible_truncation, reason = "the high half is undefined")]
    pub(crate) const fn returned(register: usize) -> Self {
        Self((register as u32).cast_signed())
    }

    /// `NT_SUCCESS`: success or information.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 >= 0
    }

    /// `NT_ERROR`: the severity is "error"; warnings are not.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0.cast_unsigned() >> 30 == 3
    }
}

impl fmt::Display for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#010x}", self.0),
        }
    }
}

impl fmt::Debug for NtStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:#010x})", self.0)
    }
}
