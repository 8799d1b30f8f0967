//! Winsock versions and their negotiation (contract: WSA-3).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A Winsock version word: major in the low byte, minor in the high byte, as `MAKEWORD(major, minor)` builds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct WinsockVersion(pub u16);

/// The highest version that the driver serves.
pub const HIGHEST_VERSION: WinsockVersion = WinsockVersion::new(2, 2);

/// Every version that exists, lowest first.
const VERSIONS: [WinsockVersion; 5] = [
    WinsockVersion::new(1, 0),
    WinsockVersion::new(1, 1),
    WinsockVersion::new(2, 0),
    WinsockVersion::new(2, 1),
    WinsockVersion::new(2, 2),
];

impl WinsockVersion {
    /// The version `major.minor`.
    #[must_use]
    pub const fn new(major: u8, minor: u8) -> Self {
        Self(u16::from_le_bytes([major, minor]))
    }

    /// The major number.
    #[must_use]
    pub const fn major(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// The minor number.
    #[must_use]
    pub const fn minor(self) -> u8 {
        self.0.to_le_bytes()[1]
    }

    /// The lower of two versions.
    #[must_use]
    pub const fn lower(self, other: Self) -> Self {
        if other.rank() < self.rank() { other } else { self }
    }

    /// Whether it knows overlapped I/O. Where it does not, a call that stays out is a blocking one (contract: WSA-7).
    #[must_use]
    pub const fn has_overlapped_io(self) -> bool {
        self.major() >= 2
    }

    const fn rank(self) -> u16 {
        self.0.swap_bytes()
    }

    /// The highest version that both sides support when the caller can use up to `self` and the provider serves `lowest` and
    /// above; none when there is no such version (`WSAVERNOTSUPPORTED`).
    #[must_use]
    pub fn negotiate(self, lowest: Self) -> Option<Self> {
        VERSIONS.into_iter().rev().find(|version| version.rank() <= self.rank() && version.rank() >= lowest.rank())
    }
}

impl core::fmt::Display for WinsockVersion {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "{}.{}", self.major(), self.minor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(major: u8, minor: u8, lowest: (u8, u8)) -> Option<(u8, u8)> {
        let version = WinsockVersion::new(major, minor).negotiate(WinsockVersion::new(lowest.0, lowest.1))?;
        Some((version.major(), version.minor()))
    }

    #[test]
    fn the_highest_version_of_both_sides_is_answered() {
        assert_eq!(negotiated(2, 2, (1, 0)), Some((2, 2)));
        assert_eq!(negotiated(255, 255, (1, 0)), Some((2, 2)));
        assert_eq!(negotiated(2, 0, (1, 0)), Some((2, 0)));
        assert_eq!(negotiated(1, 1, (1, 0)), Some((1, 1)));
        assert_eq!(negotiated(1, 9, (1, 0)), Some((1, 1)));
        assert_eq!(negotiated(1, 0, (1, 0)), Some((1, 0)));
    }

    #[test]
    fn a_version_below_the_lowest_is_refused() {
        assert_eq!(negotiated(0, 9, (1, 0)), None);
        assert_eq!(negotiated(0, 0, (1, 0)), None);
        assert_eq!(negotiated(1, 1, (2, 0)), None);
    }

    #[test]
    fn the_lower_of_two_versions_goes_by_major_and_then_by_minor() {
        let version = WinsockVersion::new;
        assert_eq!(version(2, 0).lower(version(1, 9)), version(1, 9));
        assert_eq!(version(1, 0).lower(version(1, 1)), version(1, 0));
        assert_eq!(version(2, 2).lower(version(2, 2)), version(2, 2));
        assert!(version(2, 0).has_overlapped_io() && !version(1, 1).has_overlapped_io());
    }

    #[test]
    fn a_version_word_has_its_major_in_the_low_byte() {
        assert_eq!(WinsockVersion::new(2, 1).0, 0x0102);
    }
}
