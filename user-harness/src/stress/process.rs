//! One stressing process: its threads, and how it ends.

use super::{
    Nature,
    plan::{Ending, Plan},
    tally::Tally,
    worker::Thread,
};
use crate::{Client, Error, device::Device};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// What the threads of a process are told from outside.
#[derive(Default)]
pub(super) struct Signals {
    /// Begin no further life.
    pub stop: AtomicBool,
    /// The process is being killed: whatever fails from now on may.
    pub killed: AtomicBool,
}

/// Runs a process' threads to their end. Its own end (the exit, the kill) is the caller's.
pub(super) fn live(device: &dyn Device, plan: &Plan, threads: u32, nature: Nature, signals: &Signals) -> Tally {
    let client = match Client::open(device) {
        Ok(client) => client,
        Err(error) => return failed_to_open(plan, signals, &error),
    };
    let mut sum = Tally::default();
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|index| {
                let thread = Thread::new(client.clone(), device, plan, index, nature, signals);
                scope.spawn(move || thread.run())
            })
            .collect();
        for thread in running {
            match thread.join() {
                Ok(tally) => sum.add(tally),
                Err(_) => sum.fail(plan.seed, &Error::unexpected("a stressing thread", "it panicked")),
            }
        }
    });
    if plan.ending == Ending::Orderly {
        client.close();
    }
    sum
}

fn failed_to_open(plan: &Plan, signals: &Signals, error: &Error) -> Tally {
    let mut tally = Tally::default();
    if signals.killed.load(Ordering::SeqCst) {
        tally.cut_by(error);
    } else {
        tally.fail(plan.seed, error);
    }
    tally
}
