//! Security descriptors: as much of them as decides who may open a device.
//!
//! A process has one of three tokens. Access-allowed entries for well-known SIDs are understood; what is not understood
//! grants nothing. Models "Controlling Device Access" and "SDDL for Device Objects".

use crate::device;
use crate::exports::{Export, routines};
use crate::nt::PVOID;
use crate::status::NtStatus;

/// Who a process runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Token {
    /// The `LocalSystem` account.
    System,
    /// An elevated administrator.
    #[default]
    Administrator,
    /// An ordinary user.
    User,
}

/// A SID that the lab knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sid {
    Everyone,
    System,
    Administrators,
    AuthenticatedUsers,
    Users,
    Other,
}

impl Token {
    fn has(self, sid: Sid) -> bool {
        match sid {
            Sid::Everyone | Sid::AuthenticatedUsers => true,
            Sid::System => self == Self::System,
            Sid::Administrators => self != Self::User,
            Sid::Users => self != Self::System,
            Sid::Other => false,
        }
    }
}

/// `GENERIC_READ` and `GENERIC_WRITE` as device objects map them: `FILE_GENERIC_READ`, `FILE_GENERIC_WRITE`.
const FILE_GENERIC_READ: u32 = 0x0012_0089;
const FILE_GENERIC_WRITE: u32 = 0x0012_0116;
const FILE_GENERIC_EXECUTE: u32 = 0x0012_00a0;
const FILE_ALL_ACCESS: u32 = 0x001f_01ff;
/// What [`crate::Process::open`] asks for.
pub(crate) const READ_WRITE: u32 = FILE_GENERIC_READ | FILE_GENERIC_WRITE;

/// A discretionary access control list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Acl {
    /// (is an allowing entry, SID, mask)
    entries: Vec<(bool, Sid, u32)>,
}

const fn map_generic(mask: u32) -> u32 {
    let mut mapped = mask & 0x01ff_ffff;
    if mask & 0x8000_0000 != 0 {
        mapped |= FILE_GENERIC_READ;
    }
    if mask & 0x4000_0000 != 0 {
        mapped |= FILE_GENERIC_WRITE;
    }
    if mask & 0x2000_0000 != 0 {
        mapped |= FILE_GENERIC_EXECUTE;
    }
    if mask & 0x1000_0000 != 0 {
        mapped |= FILE_ALL_ACCESS;
    }
    mapped
}

impl Acl {
    /// Whether `token` is granted all of `wanted`: entries count in order, a denied bit stays denied.
    pub(crate) fn allows(&self, token: Token, wanted: u32) -> bool {
        let mut left = wanted;
        for &(allow, sid, mask) in &self.entries {
            if token.has(sid) {
                if !allow && mask & left != 0 {
                    return false;
                }
                left &= !mask;
            }
        }
        left == 0
    }

    /// Reads an ACL.
    ///
    /// # Safety
    /// `acl` points to an ACL, readable for its own length; if it is not there, the fault is the driver's.
    unsafe fn read(acl: *const u8) -> Option<Self> {
        // SAFETY: the caller vouches for the header.
        let size = unsafe { acl.wrapping_add(2).cast::<u16>().read_unaligned() };
        // SAFETY: the caller vouches for the whole length.
        let bytes = unsafe { std::slice::from_raw_parts(acl, usize::from(size)) };
        let count = u16::from_le_bytes([*bytes.get(4)?, *bytes.get(5)?]);
        let mut entries = Vec::new();
        let mut at = 8;
        for _ in 0..count {
            let size = usize::from(u16::from_le_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]));
            let entry = bytes.get(at..at + size)?;
            let mask = u32::from_le_bytes(entry.get(4..8)?.try_into().ok()?);
            if entry[0] < 2 {
                entries.push((entry[0] == 0, sid(entry.get(8..)?)?, map_generic(mask)));
            }
            at += size;
        }
        Some(Self { entries })
    }

    /// Reads the DACL part of a security descriptor string, as `IoCreateDeviceSecure` takes it.
    pub(crate) fn parse_sddl(text: &str) -> Option<Self> {
        let dacl = text.split_once("D:")?.1;
        let mut entries = Vec::new();
        for entry in dacl.split('(').skip(1) {
            let fields: Vec<&str> = entry.split_once(')')?.0.split(';').collect();
            let [kind, _, rights, _, _, sid] = fields[..] else { return None };
            let sid = match sid {
                "WD" => Sid::Everyone,
                "SY" => Sid::System,
                "BA" => Sid::Administrators,
                "AU" => Sid::AuthenticatedUsers,
                "BU" => Sid::Users,
                _ => Sid::Other,
            };
            entries.push((kind == "A", sid, map_generic(parse_rights(rights)?)));
        }
        Some(Self { entries })
    }
}

fn parse_rights(rights: &str) -> Option<u32> {
    if let Some(hex) = rights.strip_prefix("0x") {
        return u32::from_str_radix(hex, 16).ok();
    }
    let mut mask = 0;
    for at in (0..rights.len()).step_by(2) {
        mask |= match rights.get(at..at + 2)? {
            "GA" => 0x1000_0000,
            "GR" => 0x8000_0000,
            "GW" => 0x4000_0000,
            "GX" => 0x2000_0000,
            _ => return None,
        };
    }
    Some(mask)
}

fn sid(bytes: &[u8]) -> Option<Sid> {
    let count = usize::from(*bytes.get(1)?);
    let authority = bytes.get(2..8)?;
    let parts: Vec<u32> = bytes
        .get(8..8 + 4 * count)?
        .chunks_exact(4)
        .map(|part| u32::from_le_bytes([part[0], part[1], part[2], part[3]]))
        .collect();
    Some(match (authority[5], &parts[..]) {
        (1, [0]) => Sid::Everyone,
        (5, [18]) => Sid::System,
        (5, [32, 544]) => Sid::Administrators,
        (5, [11]) => Sid::AuthenticatedUsers,
        (5, [32, 545]) => Sid::Users,
        _ => Sid::Other,
    })
}

const SE_DACL_PRESENT: u16 = 0x0004;
const SE_SELF_RELATIVE: u16 = 0x8000;
const DACL_SECURITY_INFORMATION: u32 = 4;

/// `ZwSetSecurityObject` on a device: takes its DACL over.
pub(crate) fn set(object: PVOID, information: u32, descriptor: PVOID) -> NtStatus {
    if information & DACL_SECURITY_INFORMATION == 0 {
        return NtStatus::SUCCESS;
    }
    let start = descriptor.cast_const().cast::<u8>();
    // SAFETY: the driver vouches for a security descriptor; if it is none, the fault is its own.
    let header = unsafe { start.cast::<[u8; 20]>().read() };
    if header[0] != 1 {
        return NtStatus::UNKNOWN_REVISION;
    }
    let control = u16::from_le_bytes([header[2], header[3]]);
    let dacl = if control & SE_DACL_PRESENT == 0 {
        std::ptr::null()
    } else if control & SE_SELF_RELATIVE != 0 {
        let offset = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
        if offset == 0 { std::ptr::null() } else { start.wrapping_add(offset as usize) }
    } else {
        // SAFETY: an absolute descriptor has 40 bytes, the pointer to its DACL last; the driver vouches for it.
        unsafe { start.wrapping_add(32).cast::<*const u8>().read_unaligned() }
    };
    if dacl.is_null() {
        device::set_acl(object, None);
        return NtStatus::SUCCESS;
    }
    // SAFETY: the DACL that the descriptor points to is part of what the driver vouches for.
    match unsafe { Acl::read(dacl) } {
        Some(acl) => {
            device::set_acl(object, Some(acl));
            NtStatus::SUCCESS
        }
        None => NtStatus::INVALID_SECURITY_DESCR,
    }
}

extern "win64" fn create_security_descriptor(descriptor: *mut [u8; 40], revision: u32) -> i32 {
    if revision != 1 {
        return NtStatus::UNKNOWN_REVISION.0;
    }
    let mut bytes = [0; 40];
    bytes[0] = 1;
    // SAFETY: the driver vouches for a SECURITY_DESCRIPTOR.
    unsafe { descriptor.write(bytes) };
    NtStatus::SUCCESS.0
}

extern "win64" fn set_dacl_security_descriptor(descriptor: PVOID, present: u8, dacl: usize, _defaulted: u8) -> i32 {
    // SAFETY: the driver vouches for a SECURITY_DESCRIPTOR.
    let control = unsafe { &mut *descriptor.wrapping_byte_add(2).cast::<u16>() };
    *control = if present != 0 { *control | SE_DACL_PRESENT } else { *control & !SE_DACL_PRESENT };
    // SAFETY: the DACL pointer is inside the SECURITY_DESCRIPTOR that the driver vouches for.
    unsafe { descriptor.wrapping_byte_add(32).cast::<usize>().write_unaligned(if present != 0 { dacl } else { 0 }) };
    NtStatus::SUCCESS.0
}

pub(crate) fn exports() -> Vec<Export> {
    routines!["ntoskrnl.exe";
        PASSIVE: RtlCreateSecurityDescriptor => create_security_descriptor,
            RtlSetDaclSecurityDescriptor => set_dacl_security_descriptor;
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_and_administrators_only_keeps_users_out() {
        let acl = Acl::parse_sddl("D:P(A;;GA;;;SY)(A;;GA;;;BA)").expect("valid");
        assert!(acl.allows(Token::System, READ_WRITE));
        assert!(acl.allows(Token::Administrator, READ_WRITE));
        assert!(!acl.allows(Token::User, READ_WRITE));
    }

    #[test]
    fn an_empty_list_admits_nobody() {
        assert!(!Acl::default().allows(Token::System, READ_WRITE));
    }

    #[test]
    fn a_self_relative_list_is_read_entry_by_entry() {
        let mut acl = vec![2, 0, 28, 0, 1, 0, 0, 0, 0, 0, 20, 0];
        acl.extend(0x1000_0000_u32.to_le_bytes());
        acl.extend([1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0]);
        // SAFETY: the bytes are an ACL of the length it states.
        let acl = unsafe { Acl::read(acl.as_ptr()) }.expect("valid");
        assert!(acl.allows(Token::System, READ_WRITE));
        assert!(!acl.allows(Token::Administrator, READ_WRITE));
    }
}
