//! References, and who holds them.

/// References that successful startups took and cleanups have not released.
///
/// A reference belongs to the client; each handle remembers its [`Share`]. A cleanup may come through a handle that has taken none:
/// then some share says more than is left of it. What the shares say too much is `owed`, and comes off the first shares to die.
///
/// # Invariants
/// - `total + owed` is the sum of the shares.
#[derive(Debug, Default)]
pub struct References {
    total: u32,
    owed: u64,
}

/// How many references were taken through one handle and not released through it: more than there are, when others release them. A
/// machine does not live to see the count overflow.
#[derive(Debug, Default)]
pub struct Share(u64);

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
        Self { total: 0, owed: 0 }
    }

    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.total
    }

    /// Takes one through the handle of `share`. Returns how many there are then, or none at the limit of the count.
    #[must_use]
    pub fn take(&mut self, share: &mut Share) -> Option<u32> {
        self.total = self.total.checked_add(1)?;
        share.0 = share.0.saturating_add(1);
        Some(self.total)
    }

    /// Releases one through the handle of `share`, wherever it was taken.
    pub fn release(&mut self, share: &mut Share) -> Released {
        if self.total == 0 {
            return Released::None;
        }
        match share.0.checked_sub(1) {
            Some(left) => share.0 = left,
            None => self.owed = self.owed.saturating_add(1),
        }
        self.subtract(1)
    }

    /// Releases what a dying handle still holds.
    pub fn forfeit(&mut self, share: &mut Share) -> Released {
        let mine = core::mem::take(&mut share.0);
        let paid = mine.min(self.owed);
        self.owed = self.owed.saturating_sub(paid);
        match mine.saturating_sub(paid) {
            0 if self.total == 0 => Released::None,
            left => self.subtract(left),
        }
    }

    fn subtract(&mut self, count: u64) -> Released {
        match u32::try_from(count).ok().and_then(|count| self.total.checked_sub(count)) {
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
    fn a_handle_whose_references_others_release_takes_more_than_there_can_be_at_once() {
        let before = u64::from(u32::MAX) + 5;
        let (mut references, mut taker) = (References { total: 0, owed: before }, Share(before));
        let (mut releaser, mut other) = (Share::none(), Share::none());
        assert_eq!(references.take(&mut taker), Some(1));
        assert_eq!(references.release(&mut releaser), Released::Last);
        assert_eq!(references.take(&mut taker), Some(1));
        assert_eq!(references.take(&mut other), Some(2));
        assert_eq!(references.forfeit(&mut taker), Released::Remaining(1));
        assert_eq!(references.forfeit(&mut other), Released::Last);
    }

    #[test]
    fn a_dying_handle_takes_no_reference_of_another() {
        let (mut references, mut first, mut second) = (References::new(), Share::default(), Share::default());
        // Over a restart: the first session was started through one handle and cleaned up through the other.
        assert!(references.take(&mut first).is_some());
        assert_eq!(references.release(&mut second), Released::Last);
        assert!(references.take(&mut second).is_some());
        assert_eq!(references.forfeit(&mut first), Released::Remaining(1));
        assert_eq!(references.forfeit(&mut second), Released::Last);
        // Within one session.
        assert!(references.take(&mut first).is_some() && references.take(&mut first).is_some());
        assert_eq!(references.release(&mut second), Released::Remaining(1));
        assert!(references.take(&mut second).is_some());
        assert_eq!(references.forfeit(&mut first), Released::Remaining(1));
        assert_eq!(references.forfeit(&mut second), Released::Last);
    }

    #[test]
    fn whatever_is_done_through_two_handles_the_last_to_die_leaves_nothing() {
        // Every sequence of eight takes and releases through two handles.
        for sequence in 0..4_u32.pow(8) {
            let (mut references, mut shares) = (References::new(), [Share::default(), Share::default()]);
            let mut held = 0_i32;
            for step in 0..8 {
                let action = sequence >> (2 * step) & 3;
                let share = &mut shares[(action & 1) as usize];
                if action & 2 == 0 {
                    held += 1;
                    assert!(references.take(share).is_some());
                } else if references.release(share) != Released::None {
                    held -= 1;
                }
            }
            assert_eq!(i64::from(references.total()), i64::from(held));
            for share in &mut shares {
                let _ = references.forfeit(share);
            }
            assert_eq!((references.total, references.owed), (0, 0), "sequence {sequence:o}");
        }
    }

    #[test]
    fn a_handle_that_took_nothing_ends_nothing() {
        let (mut references, mut taker, mut idle) = (References::new(), Share::default(), Share::default());
        assert!(references.take(&mut taker).is_some());
        assert_eq!(references.forfeit(&mut idle), Released::Remaining(1));
    }

    #[test]
    fn the_count_stops_at_its_limit() {
        let (mut references, mut share) = (References { total: u32::MAX, owed: 0 }, Share(7));
        assert_eq!(references.take(&mut share), None);
        assert_eq!((references.total, share.0), (u32::MAX, 7));
    }
}
