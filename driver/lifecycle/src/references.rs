//! References, and who holds them.

/// References that successful startups took and cleanups have not released.
///
/// A reference belongs to the client; each handle remembers its [`Share`]. A cleanup may come through another handle than the
/// startup did: then some share says more than is left, and gives back no more than is left when its handle dies.
///
/// # Invariants
/// - `total` is at most the sum of the shares.
#[derive(Debug, Default)]
pub struct References {
    total: u32,
}

/// How many references were taken through one handle and not released through it.
#[derive(Debug, Default)]
pub struct Share(u32);

impl Share {
    /// Nothing taken.
    #[must_use]
    pub const fn none() -> Self {
        Self(0)
    }
}

/// What a release left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the last release starts the teardown"]
pub enum Released {
    /// There was no reference.
    None,
    /// So many are left.
    Remaining(u32),
    /// It was the last one.
    Last,
}

impl References {
    /// No reference.
    #[must_use]
    pub const fn new() -> Self {
        Self { total: 0 }
    }

    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.total
    }

    /// Takes one through the handle of `share`. Returns how many there are then, or none at the limit of the count.
    #[must_use]
    pub fn take(&mut self, share: &mut Share) -> Option<u32> {
        let (total, mine) = (self.total.checked_add(1)?, share.0.checked_add(1)?);
        self.total = total;
        share.0 = mine;
        Some(total)
    }

    /// Releases one through the handle of `share`, wherever it was taken.
    pub fn release(&mut self, share: &mut Share) -> Released {
        share.0 = share.0.saturating_sub(1);
        self.subtract(1)
    }

    /// Releases what a dying handle still holds.
    pub fn forfeit(&mut self, share: &mut Share) -> Released {
        match core::mem::take(&mut share.0).min(self.total) {
            0 if self.total == 0 => Released::None,
            mine => self.subtract(mine),
        }
    }

    fn subtract(&mut self, count: u32) -> Released {
        match self.total.checked_sub(count) {
            None => Released::None,
            Some(0) => {
                self.total = 0;
                Released::Last
            }
            Some(left) => {
                self.total = left;
                Released::Remaining(left)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_release_is_the_one_that_leaves_none() {
        let (mut references, mut share) = (References::new(), Share::default());
        assert_eq!(references.take(&mut share), Some(1));
        assert_eq!(references.take(&mut share), Some(2));
        assert_eq!(references.release(&mut share), Released::Remaining(1));
        assert_eq!(references.release(&mut share), Released::Last);
        assert_eq!(references.release(&mut share), Released::None);
    }

    #[test]
    fn a_dying_handle_gives_back_what_it_took_and_no_more() {
        let (mut references, mut mine, mut other) = (References::new(), Share::default(), Share::default());
        for _ in 0..3 {
            assert!(references.take(&mut mine).is_some());
        }
        assert!(references.take(&mut other).is_some());
        assert_eq!(references.forfeit(&mut mine), Released::Remaining(1));
        assert_eq!(references.forfeit(&mut mine), Released::Remaining(1));
        assert_eq!(references.forfeit(&mut other), Released::Last);
    }

    #[test]
    fn references_released_through_another_handle_are_not_given_back_twice() {
        let (mut references, mut taker, mut releaser) = (References::new(), Share::default(), Share::default());
        assert!(references.take(&mut taker).is_some());
        assert!(references.take(&mut taker).is_some());
        assert_eq!(references.release(&mut releaser), Released::Remaining(1));
        assert_eq!(references.forfeit(&mut taker), Released::Last);
        assert_eq!(references.forfeit(&mut releaser), Released::None);
    }

    #[test]
    fn a_handle_that_took_nothing_ends_nothing() {
        let (mut references, mut taker, mut idle) = (References::new(), Share::default(), Share::default());
        assert!(references.take(&mut taker).is_some());
        assert_eq!(references.forfeit(&mut idle), Released::Remaining(1));
    }

    #[test]
    fn the_count_stops_at_its_limit() {
        let (mut references, mut share) = (References { total: u32::MAX }, Share(7));
        assert_eq!(references.take(&mut share), None);
        assert_eq!((references.total, share.0), (u32::MAX, 7));
    }
}
