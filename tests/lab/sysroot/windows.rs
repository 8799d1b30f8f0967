//! The part of the `windows` crate that wdk-build uses, for a host that has no registry: every look-up finds nothing.
#![expect(non_snake_case, non_camel_case_types, reason = "the names are the windows crate's")]

pub mod core {
    #[derive(Clone, Copy)]
    pub struct PCSTR(pub *const u8);
    impl PCSTR {
        pub const fn from_raw(text: *const u8) -> Self {
            Self(text)
        }
    }
    pub use crate::s;
}

#[macro_export]
macro_rules! s {
    ($text:literal) => {
        $crate::core::PCSTR::from_raw(concat!($text, "\0").as_ptr())
    };
}

pub mod Win32 {
    pub mod Foundation {
        #[derive(Clone, Copy)]
        pub struct WIN32_ERROR(pub u32);
        pub const ERROR_SUCCESS: WIN32_ERROR = WIN32_ERROR(0);
        pub const ERROR_FILE_NOT_FOUND: WIN32_ERROR = WIN32_ERROR(2);
        impl WIN32_ERROR {
            pub fn is_ok(self) -> bool {
                self.0 == ERROR_SUCCESS.0
            }
            pub fn ok(self) -> Result<(), u32> {
                if self.is_ok() { Ok(()) } else { Err(self.0) }
            }
        }
    }

    pub mod System {
        pub mod Registry {
            use super::super::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_SUCCESS, WIN32_ERROR};
            use crate::core::PCSTR;

            #[derive(Clone, Copy)]
            pub struct HKEY(pub *mut ::core::ffi::c_void);
            impl Default for HKEY {
                fn default() -> Self {
                    Self(::core::ptr::null_mut())
                }
            }
            #[derive(Clone, Copy)]
            pub struct REG_SAM_FLAGS(pub u32);
            #[derive(Clone, Copy)]
            pub struct REG_ROUTINE_FLAGS(pub u32);
            pub const HKEY_LOCAL_MACHINE: HKEY = HKEY(::core::ptr::null_mut());
            pub const KEY_READ: REG_SAM_FLAGS = REG_SAM_FLAGS(0);
            pub const RRF_RT_REG_SZ: REG_ROUTINE_FLAGS = REG_ROUTINE_FLAGS(0);

            pub unsafe fn RegOpenKeyExA(
                _: HKEY,
                _: PCSTR,
                _: Option<u32>,
                _: REG_SAM_FLAGS,
                _: *mut HKEY,
            ) -> WIN32_ERROR {
                ERROR_FILE_NOT_FOUND
            }

            pub unsafe fn RegGetValueA(
                _: HKEY,
                _: Option<PCSTR>,
                _: PCSTR,
                _: REG_ROUTINE_FLAGS,
                _: Option<*mut u32>,
                _: Option<*mut ::core::ffi::c_void>,
                _: Option<*mut u32>,
            ) -> WIN32_ERROR {
                ERROR_FILE_NOT_FOUND
            }

            pub unsafe fn RegCloseKey(_: HKEY) -> WIN32_ERROR {
                ERROR_SUCCESS
            }
        }
    }
}
