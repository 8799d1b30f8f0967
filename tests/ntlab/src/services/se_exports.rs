//! `SeExports`: well-known privileges and security identifiers.
//!
//! Source: *`SE_EXPORTS` structure*, *Well-known SIDs*, *Privilege Constants*.

use std::sync::LazyLock;

use crate::exports::Export;

/// A SID of up to two parts, as it lies in memory.
#[repr(C, align(4))]
struct Sid {
    revision: u8,
    count: u8,
    authority: [u8; 6],
    parts: [u32; 2],
}

const fn sid<const N: usize>(authority: u8, parts: [u32; N]) -> Sid {
    let mut all = [0; 2];
    let mut index = 0;
    while index < N {
        all[index] = parts[index];
        index += 1;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a SID here has two parts at most")]
    Sid { revision: 1, count: N as u8, authority: [0, 0, 0, 0, 0, authority], parts: all }
}

/// A field of the structure.
enum Field {
    /// A LUID: the privilege's number.
    Privilege(u32),
    Sid(Sid),
}
use Field::{Privilege as P, Sid as S};

/// `BUILTIN`.
const BUILTIN: u32 = 32;

/// The fields in their order.
fn fields() -> Vec<Field> {
    let first = [2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 14, 11, 12, 13, 16, 17, 18, 19, 20, 21, 22, 23, 24];
    let mut fields: Vec<_> = first.into_iter().map(P).collect();
    // Null, World, Local, Creator Owner, Creator Group.
    fields.extend([S(sid(0, [0])), S(sid(1, [0])), S(sid(2, [0])), S(sid(3, [0])), S(sid(3, [1]))]);
    // NT Authority, Dialup, Network, Batch, Interactive, Local System.
    fields.push(S(sid(5, [])));
    fields.extend([1, 2, 3, 4, 18].map(|part| S(sid(5, [part]))));
    // Administrators, Users, Guests, Power Users, Account, System, Print and Backup Operators.
    fields.extend([544, 545, 546, 547, 548, 549, 550, 551].map(|alias| S(sid(5, [BUILTIN, alias]))));
    // Authenticated Users, Restricted, Anonymous Logon.
    fields.extend([11, 12, 7].map(|part| S(sid(5, [part]))));
    fields.extend([25, 26, 27].map(P));
    // Local Service, Network Service.
    fields.extend([19, 20].map(|part| S(sid(5, [part]))));
    fields.extend([28, 29, 30, 31, 32, 33, 34, 35].map(P));
    // IUSR, then the integrity levels: untrusted, low, medium, high, system; Owner Rights.
    fields.push(S(sid(5, [17])));
    fields.extend([0, 0x1000, 0x2000, 0x3000, 0x4000].map(|level| S(sid(16, [level]))));
    fields.push(S(sid(3, [4])));
    fields
}

/// The structure: eight bytes for each field, a LUID or a pointer. It is never given back.
static STRUCTURE: LazyLock<usize> = LazyLock::new(|| {
    let words: Vec<usize> = fields()
        .into_iter()
        .map(|field| match field {
            P(number) => number as usize,
            S(sid) => std::ptr::from_ref::<Sid>(Box::leak(Box::new(sid))) as usize,
        })
        .collect();
    Vec::leak(words).as_ptr() as usize
});

pub(super) fn exports() -> Vec<Export> {
    let pointer: &'static usize = &STRUCTURE;
    vec![Export::direct("ntoskrnl.exe", "SeExports", std::ptr::from_ref(pointer).cast())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_has_its_fields_where_the_header_has_them() {
        // Of the 65 fields, which are eight bytes each on a 64-bit system.
        assert_eq!(fields().len(), 65);
        let at = |index: usize| (*STRUCTURE as *const usize).wrapping_add(index);
        // SAFETY: the structure has as many words as fields.
        let privilege = unsafe { at(8).read() };
        assert_eq!(privilege, 10, "SeLoadDriverPrivilege");
        // SAFETY: the structure has as many words as fields.
        let system = unsafe { at(33).read() } as *const Sid;
        // SAFETY: the word leads to a SID, which is never given back.
        let system = unsafe { &*system };
        assert_eq!((system.authority[5], system.count, system.parts[0]), (5, 1, 18), "SeLocalSystemSid");
    }
}
