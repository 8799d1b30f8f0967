//! One provider of one client, from its first reference to its last and on to the next first.

use crate::{References, Released, Share};

/// Where a lifecycle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is started.
    Down,
    /// The first startup waits for what it needs.
    Starting,
    /// Started, with at least one reference.
    Up,
    /// The last reference is released; what it held is being ended.
    Stopping,
}

/// What becomes of a startup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a startup is counted, waits, or is refused"]
pub enum Startup {
    /// It succeeded at once: so many references now.
    Counted(u32),
    /// It waits until the provider is up; the state says for what.
    Waits(State),
    /// The count is at its limit.
    Refused,
}

/// The state of a provider of a client, and its references. Each transition is a method named after the event.
///
/// The owner serialises the calls (a lock), keeps the startups that wait, and does the work between two events.
///
/// # Invariants
/// - There are references exactly in [`State::Up`].
#[derive(Debug)]
pub struct Lifecycle {
    state: State,
    references: References,
}

impl Lifecycle {
    /// Down.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: State::Down, references: References::new() }
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// References held.
    #[must_use]
    pub const fn references(&self) -> u32 {
        self.references.total()
    }

    /// A startup arrives through the handle of `share`.
    pub fn startup(&mut self, share: &mut Share) -> Startup {
        match self.state {
            State::Up => self.references.take(share).map_or(Startup::Refused, Startup::Counted),
            state => Startup::Waits(state),
        }
    }

    /// The owner begins to start what a waiting startup needs. False if there is nothing to begin.
    #[must_use]
    pub fn begin(&mut self) -> bool {
        let down = self.state == State::Down;
        if down {
            self.state = State::Starting;
        }
        down
    }

    /// What was needed is there; the first waiting startup, through the handle of `share`, takes the first reference.
    /// False if the lifecycle was not starting.
    #[must_use]
    pub fn started(&mut self, share: &mut Share) -> bool {
        let starting = self.state == State::Starting && self.references.take(share).is_some();
        if starting {
            self.state = State::Up;
        }
        starting
    }

    /// What was needed can't be had, or nobody waits for it any more.
    pub fn start_ended(&mut self) {
        if self.state == State::Starting {
            self.state = State::Down;
        }
    }

    /// A cleanup arrives through the handle of `share`. In any state but [`State::Up`] there is nothing to clean up
    /// ([`Released::None`]); [`Released::Last`] begins the teardown.
    pub fn cleanup(&mut self, share: &mut Share) -> Released {
        self.released(|references| references.release(share))
    }

    /// The handle of `share` dies. [`Released::Last`] begins the teardown.
    pub fn handle_died(&mut self, share: &mut Share) -> Released {
        // In every state: what was released through other handles is settled with what this one says it took.
        let released = self.references.forfeit(share);
        if released == Released::Last {
            self.state = State::Stopping;
        }
        released
    }

    fn released(&mut self, release: impl FnOnce(&mut References) -> Released) -> Released {
        if self.state != State::Up {
            return Released::None;
        }
        let released = release(&mut self.references);
        if released == Released::Last {
            self.state = State::Stopping;
        }
        released
    }

    /// Everything that was held has been given back.
    pub fn stopped(&mut self) {
        if self.state == State::Stopping {
            self.state = State::Down;
        }
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(share: &mut Share) -> Lifecycle {
        let mut lifecycle = Lifecycle::new();
        assert_eq!(lifecycle.startup(share), Startup::Waits(State::Down));
        assert!(lifecycle.begin());
        assert!(lifecycle.started(share));
        lifecycle
    }

    #[test]
    fn the_first_startup_waits_and_the_next_ones_count() {
        let mut share = Share::default();
        let mut lifecycle = up(&mut share);
        assert_eq!((lifecycle.state(), lifecycle.references()), (State::Up, 1));
        assert_eq!(lifecycle.startup(&mut share), Startup::Counted(2));
    }

    #[test]
    fn only_the_last_of_n_cleanups_stops_and_one_more_finds_nothing() {
        let mut share = Share::default();
        let mut lifecycle = up(&mut share);
        assert_eq!(lifecycle.startup(&mut share), Startup::Counted(2));
        assert_eq!(lifecycle.cleanup(&mut share), Released::Remaining(1));
        assert_eq!(lifecycle.state(), State::Up);
        assert_eq!(lifecycle.cleanup(&mut share), Released::Last);
        assert_eq!(lifecycle.state(), State::Stopping);
        assert_eq!(lifecycle.cleanup(&mut share), Released::None);
    }

    #[test]
    fn a_startup_during_stopping_waits_and_then_starts_afresh() {
        let mut share = Share::default();
        let mut lifecycle = up(&mut share);
        assert_eq!(lifecycle.cleanup(&mut share), Released::Last);
        assert_eq!(lifecycle.startup(&mut share), Startup::Waits(State::Stopping));
        assert!(!lifecycle.begin(), "not before the teardown is over");
        lifecycle.stopped();
        assert!(lifecycle.begin());
        assert!(lifecycle.started(&mut share));
        assert_eq!(lifecycle.references(), 1);
    }

    #[test]
    fn a_failed_start_leaves_nothing_behind() {
        let mut share = Share::default();
        let mut lifecycle = Lifecycle::new();
        assert!(lifecycle.begin());
        assert!(!lifecycle.begin());
        lifecycle.start_ended();
        assert_eq!((lifecycle.state(), lifecycle.references()), (State::Down, 0));
        assert_eq!(lifecycle.cleanup(&mut share), Released::None);
    }

    #[test]
    fn a_handle_that_dies_while_starting_or_down_releases_nothing() {
        let mut share = Share::default();
        let mut lifecycle = Lifecycle::new();
        assert_eq!(lifecycle.handle_died(&mut share), Released::None);
        assert!(lifecycle.begin());
        assert_eq!(lifecycle.handle_died(&mut share), Released::None);
        assert_eq!(lifecycle.state(), State::Starting);
    }

    #[test]
    fn a_dying_handle_with_the_last_references_stops() {
        let (mut mine, mut other) = (Share::default(), Share::default());
        let mut lifecycle = up(&mut mine);
        assert_eq!(lifecycle.startup(&mut mine), Startup::Counted(2));
        assert_eq!(lifecycle.startup(&mut other), Startup::Counted(3));
        assert_eq!(lifecycle.handle_died(&mut mine), Released::Remaining(1));
        assert_eq!(lifecycle.handle_died(&mut other), Released::Last);
        assert_eq!(lifecycle.state(), State::Stopping);
    }
}
