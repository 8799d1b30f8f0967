//! What a stressing process will do, all of it from one seed.

use std::time::Duration;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Every thread cleans up what it started up.
    Orderly,
    /// The threads stop where they are, and the process exits with everything still open.
    Exit,
    /// Somebody kills it after this time, whatever its threads do.
    Killed(Duration),
}

/// What a process is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Where all its choices come from.
    pub seed: u64,
    /// Whether its threads also give back references that are not theirs: then their requests may end at any moment. In a process that
    /// does not, nothing may fail.
    pub wild: bool,
    /// How it ends.
    pub ending: Ending,
    /// How many times each thread starts up, works and cleans up.
    pub lives: u32,
}

impl Plan {
    /// The plan that a seed stands for.
    pub fn of(seed: u64) -> Self {
        let mut choices = fastrand::Rng::with_seed(seed);
        let ending = match choices.u32(0..4) {
            0 => Ending::Killed(Duration::from_millis(choices.u64(1..120))),
            1 => Ending::Exit,
            _ => Ending::Orderly,
        };
        Self { seed, wild: choices.u32(0..3) == 0, ending, lives: choices.u32(1..5) }
    }

    /// The choices of one of its threads.
    pub fn thread(&self, thread: u32) -> fastrand::Rng {
        fastrand::Rng::with_seed(mix(self.seed, thread.into()))
    }
}

/// The seed of the `round`th process in a place, from the run's seed.
pub(super) fn seed_of(run: u64, place: u32, round: u64) -> u64 {
    mix(mix(run, u64::from(place) << 32), round)
}

/// Two numbers made one, as `SplitMix64` does: neighbours share nothing.
fn mix(left: u64, right: u64) -> u64 {
    let mut word = left.wrapping_add(right.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_plan_and_neighbours_make_others() {
        assert_eq!(Plan::of(7), Plan::of(7));
        let seeds: std::collections::BTreeSet<_> =
            (0..4).flat_map(|place| (0..100).map(move |round| seed_of(1, place, round))).collect();
        assert_eq!(seeds.len(), 400);
    }

    #[test]
    fn a_hundred_plans_have_every_ending_and_both_tempers() {
        let plans: Vec<_> = (0..100).map(|round| Plan::of(seed_of(1, 0, round))).collect();
        assert!(plans.iter().any(|plan| plan.ending == Ending::Orderly));
        assert!(plans.iter().any(|plan| plan.ending == Ending::Exit));
        assert!(plans.iter().any(|plan| matches!(plan.ending, Ending::Killed(_))));
        assert!(plans.iter().any(|plan| plan.wild) && plans.iter().any(|plan| !plan.wild));
    }
}
