//! What stressing came to, in numbers that add up over threads and processes.

use crate::{Cause, Error};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many failures are told in full; the rest are counted.
const TOLD: usize = 5;

/// What was done, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Startup, work, cleanup: once through.
    pub lives: u64,
    /// Startups that succeeded.
    pub startups: u64,
    /// Cleanups that succeeded.
    pub cleanups: u64,
    /// Connections made, both ways.
    pub connections: u64,
    /// Bytes that were sent and received, and compared.
    pub bytes: u64,
    /// Graceful closes after which every byte arrived.
    pub graceful: u64,
    /// Requests cancelled by their caller.
    pub cancels: u64,
    /// Requests left pending for a cleanup, a close or the process's end.
    pub left: u64,
    /// Lives that ended early because somebody else cleaned up or killed the process, by what they met.
    pub cut: BTreeMap<String, u64>,
    /// What must not be.
    pub failures: u64,
    /// The first of them.
    pub told: Vec<String>,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        let Self { lives, startups, cleanups, connections, bytes, graceful, cancels, left, cut, failures, told } =
            other;
        self.lives += lives;
        self.startups += startups;
        self.cleanups += cleanups;
        self.connections += connections;
        self.bytes += bytes;
        self.graceful += graceful;
        self.cancels += cancels;
        self.left += left;
        self.failures += failures;
        for (what, count) in cut {
            *self.cut.entry(what).or_default() += count;
        }
        self.told.extend(told);
        self.told.truncate(TOLD);
    }

    /// A life ended early, as it may.
    pub fn cut_by(&mut self, error: &Error) {
        let what = match (error.winsock(), error.cause()) {
            (Some(winsock), _) => winsock.name().to_owned(),
            (None, Cause::Host(error)) => error.kind().to_string(),
            (None, Cause::TimedOut(_)) => "no completion".to_owned(),
            (None, _) => "another end than in peace".to_owned(),
        };
        *self.cut.entry(what).or_default() += 1;
    }

    /// Something that must not be.
    pub fn fail(&mut self, seed: u64, error: &Error) {
        self.failures += 1;
        if self.told.len() < TOLD {
            self.told.push(format!("process {seed:#018x}: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::WsaError;

    #[test]
    fn tallies_add_up_and_keep_the_first_failures() {
        let mut sum = Tally::default();
        for seed in 0..4 {
            let mut tally = Tally { lives: 2, bytes: 10, ..Tally::default() };
            tally.cut_by(&Error::status("send", WsaError::NotInitialised.status()));
            tally.fail(seed, &Error::unexpected("echo", "other bytes"));
            tally.fail(seed, &Error::unexpected("echo", "other bytes"));
            sum.add(tally);
        }
        assert_eq!((sum.lives, sum.bytes, sum.failures, sum.told.len()), (8, 40, 8, TOLD));
        assert_eq!(sum.cut["WSANOTINITIALISED"], 4);
        assert_eq!(sum.told[2], "process 0x0000000000000001: echo: other bytes");
    }
}
