//! The namespace providers that there are, by GUID: those of Windows, and which of them this driver serves (contract: NSP-2).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A `GUID`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
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

impl Guid {
    /// No provider.
    pub const NIL: Self = Self::new(0);

    /// The GUID whose digits are those of `value`, first to last.
    #[must_use]
    pub const fn new(value: u128) -> Self {
        let [first @ .., a, b, c, d] = (value >> 64).to_be_bytes();
        let [.., data1_3, data1_2, data1_1, data1_0] = first;
        let [_, _, _, _, _, _, _, _, data4 @ ..] = value.to_be_bytes();
        Self {
            data1: u32::from_be_bytes([data1_3, data1_2, data1_1, data1_0]),
            data2: u16::from_be_bytes([a, b]),
            data3: u16::from_be_bytes([c, d]),
            data4,
        }
    }
}

impl core::fmt::Display for Guid {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, rest @ ..] = self.data4;
        write!(formatter, "{{{:08X}-{:04X}-{:04X}-{a:02X}{b:02X}-", self.data1, self.data2, self.data3)?;
        rest.iter().try_for_each(|byte| write!(formatter, "{byte:02X}"))?;
        formatter.write_str("}")
    }
}

impl core::fmt::Debug for Guid {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, formatter)
    }
}

/// A namespace provider that the driver serves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(usize)]
pub enum Namespace {
    /// Names of the domain name system, as Windows resolves them for kernel-mode callers.
    Dns = 0,
    /// Addresses and ports that are written as numbers, and service names: nothing is asked of the network.
    Numeric = 1,
}

impl Namespace {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Dns, Self::Numeric];

    /// Its GUID.
    #[must_use]
    pub const fn guid(self) -> Guid {
        match self {
            Self::Dns => Guid::new(0x2205_9D40_7E9E_11CF_AE5A_00AA_00A7_112B),
            Self::Numeric => Guid::new(0x7A5F_3C0E_9B41_4D86_A6E2_57C1_0D84_57F1),
        }
    }

    /// Its entry in the [`NAMESPACES`].
    #[must_use]
    pub fn entry(self) -> NamespaceEntry {
        NamespaceEntry::find(&self.guid()).copied().unwrap_or_default()
    }
}

/// An entry of the namespace catalog, after `WSANAMESPACE_INFO`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NamespaceEntry {
    /// The provider.
    pub provider: Guid,
    /// `NS_*`.
    pub namespace: u32,
    /// 1 if it can be started here; otherwise its requests are `WSAEOPNOTSUPP`.
    pub active: u32,
    /// Its name, zero-filled.
    pub name: [u8; 32],
}

/// `NS_ALL`: of a provider that belongs to none.
const NS_ALL: u32 = 0;
/// `NS_DNS`.
pub const NS_DNS: u32 = 12;
/// `NS_NLA`.
const NS_NLA: u32 = 15;
/// `NS_BTH`.
const NS_BTH: u32 = 16;
/// `NS_NTDS`.
const NS_NTDS: u32 = 32;
/// `NS_EMAIL`.
const NS_EMAIL: u32 = 37;
/// `NS_PNRPNAME`.
const NS_PNRPNAME: u32 = 38;
/// `NS_PNRPCLOUD`.
const NS_PNRPCLOUD: u32 = 39;

/// Every namespace provider that a request may name: those that `netsh winsock show catalog` lists on Windows, and our own.
pub const NAMESPACES: [NamespaceEntry; 8] = [
    served(Namespace::Dns, NS_DNS, "Tcpip"),
    served(Namespace::Numeric, NS_ALL, "WSK numeric addresses"),
    unserved(0x6642_243A_3BA8_4AA6_BAA5_2E0B_D71F_DD83, NS_NLA, "Network Location Awareness"),
    unserved(0x06AA_63E0_7D60_41FF_AFB2_3EE6_D2D9_392D, NS_BTH, "Bluetooth"),
    unserved(0x3B26_37EE_E580_11CF_A555_00C0_4FD8_D4AC, NS_NTDS, "NTDS"),
    unserved(0x964A_CBA2_B2BC_40EB_8C6A_A6DB_4016_1CAE, NS_EMAIL, "E-mail naming shim"),
    unserved(0x03FE_89CD_766D_4976_B9C1_BB9B_C42C_7B4D, NS_PNRPNAME, "PNRP name"),
    unserved(0x03FE_89CE_766D_4976_B9C1_BB9B_C42C_7B4D, NS_PNRPCLOUD, "PNRP cloud"),
];

const fn served(namespace: Namespace, number: u32, name: &str) -> NamespaceEntry {
    entry(namespace.guid(), number, 1, name)
}

const fn unserved(guid: u128, number: u32, name: &str) -> NamespaceEntry {
    entry(Guid::new(guid), number, 0, name)
}

const fn entry(provider: Guid, namespace: u32, active: u32, text: &str) -> NamespaceEntry {
    let mut name = [0; 32];
    name.split_at_mut(text.len()).0.copy_from_slice(text.as_bytes());
    NamespaceEntry { provider, namespace, active, name }
}

impl NamespaceEntry {
    /// The entry of this provider.
    #[must_use]
    pub fn find(provider: &Guid) -> Option<&'static Self> {
        NAMESPACES.iter().find(|entry| entry.provider == *provider)
    }

    /// What serves it, if something does.
    #[must_use]
    pub fn served(&self) -> Option<Namespace> {
        Namespace::ALL.into_iter().find(|namespace| namespace.guid() == self.provider)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_guid_has_the_layout_of_windows_and_reads_as_it_is_written() {
        let dns = Namespace::Dns.guid();
        assert_eq!((dns.data1, dns.data2, dns.data3), (0x2205_9D40, 0x7E9E, 0x11CF));
        assert_eq!(dns.data4, [0xAE, 0x5A, 0x00, 0xAA, 0x00, 0xA7, 0x11, 0x2B]);
        assert_eq!(dns.to_string(), "{22059D40-7E9E-11CF-AE5A-00AA00A7112B}");
        assert_eq!(&dns.as_bytes()[..8], [0x40, 0x9D, 0x05, 0x22, 0x9E, 0x7E, 0xCF, 0x11]);
    }

    #[test]
    fn every_entry_is_found_by_its_own_guid_and_says_whether_it_is_served() {
        for entry in &NAMESPACES {
            assert_eq!(NamespaceEntry::find(&entry.provider), Some(entry));
            assert_eq!(entry.served().is_some(), entry.active == 1);
        }
        for (index, namespace) in Namespace::ALL.into_iter().enumerate() {
            assert_eq!(namespace as usize, index);
            assert_eq!(namespace.entry().served(), Some(namespace));
        }
        assert_eq!(NamespaceEntry::find(&Guid::NIL), None);
    }
}
