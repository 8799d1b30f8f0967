//! Timelines: a recorded run as a picture.
//!
//! One idea: [`Timeline`] decides what lies where (which track, which row, from when to when), once; [`svg`], [`html`] and [`text`] only
//! draw it. Times are microseconds since the recording began.

pub(crate) mod html;
mod layout;
mod rows;
pub(crate) mod svg;
pub(crate) mod text;

use crate::{
    abi::{NtStatus, Provider},
    record::Entry,
    status::STATUS_CANCELLED,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// A success.
    Done,
    /// `STATUS_CANCELLED`: by its caller, a close, a teardown or the process's end.
    Cancelled,
    /// Another error.
    Failed,
    /// Its end was not seen: it went with its process.
    Unseen,
}

impl Outcome {
    pub const ALL: [Self; 4] = [Self::Done, Self::Cancelled, Self::Failed, Self::Unseen];

    fn of(status: Option<NtStatus>) -> Self {
        match status {
            None => Self::Unseen,
            Some(STATUS_CANCELLED) => Self::Cancelled,
            Some(0..) => Self::Done,
            Some(_) => Self::Failed,
        }
    }

    /// For a legend.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "succeeded",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Unseen => "end not seen",
        }
    }
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Span {
    pub begin: u64,
    pub end: u64,
}

/// What the last cleanup did, or the process's end, as the process saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Teardown {
    #[serde(flatten)]
    pub span: Span,
    /// In their order; the last ends with it.
    pub phases: Vec<Phase>,
}

/// A part of a teardown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Phase {
    /// What was over at its end.
    pub name: String,
    pub end: u64,
}

impl Teardown {
    /// Each phase with its stretch of time.
    pub fn stretches(&self) -> impl Iterator<Item = (Span, &str)> {
        let begins = std::iter::once(self.span.begin).chain(self.phases.iter().map(|phase| phase.end));
        begins.zip(&self.phases).map(|(begin, phase)| (Span { begin, end: phase.end }, phase.name.as_str()))
    }

    /// In words: how long each phase took.
    pub fn describe(&self) -> String {
        let phases: Vec<_> =
            self.stretches().map(|(span, name)| format!("{name} {}", time(span.end - span.begin))).collect();
        phases.join(", ")
    }
}

/// One request.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bar {
    #[serde(flatten)]
    pub span: Span,
    pub track: usize,
    pub row: usize,
    pub kind: String,
    pub outcome: Outcome,
    /// Winsock and NTSTATUS names and numbers.
    pub status: String,
    pub information: u64,
    pub note: String,
    /// The socket's number in the picture.
    pub socket: Option<usize>,
}

/// One socket, from the end of what made it to the end of what closed it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SocketBar {
    #[serde(flatten)]
    pub span: Span,
    pub track: usize,
    pub row: usize,
    /// Rows that it and its requests take.
    pub rows: usize,
    pub label: String,
    pub ended_by: &'static str,
}

/// What a track shows.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "shows")]
pub(crate) enum Shows {
    /// A provider's references: when the count changed, and to what.
    References { provider: &'static str, steps: Vec<(u64, u32)>, teardowns: Vec<Teardown> },
    /// Requests that are about no socket.
    Calls,
    /// Sockets and their requests.
    Sockets,
}

/// A strip of the picture.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Track {
    pub process: usize,
    pub rows: usize,
    #[serde(flatten)]
    pub shows: Shows,
}

/// A process of the recording.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Lifetime {
    pub label: String,
    #[serde(flatten)]
    pub span: Span,
    /// `killed`, `exited`, or nothing where its end was not seen.
    pub ended_by: String,
}

/// A run, laid out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Timeline {
    pub title: String,
    /// Where the picture ends; it begins at 0.
    pub end: u64,
    pub processes: Vec<Lifetime>,
    pub tracks: Vec<Track>,
    pub sockets: Vec<SocketBar>,
    pub bars: Vec<Bar>,
}

impl Timeline {
    /// Lays a recording out.
    pub fn of(title: &str, entries: &[Entry]) -> Self {
        layout::lay_out(title, entries)
    }

    /// How many requests ended each way.
    pub fn outcomes(&self) -> BTreeMap<Outcome, usize> {
        let mut counts = BTreeMap::new();
        for bar in &self.bars {
            *counts.entry(bar.outcome).or_default() += 1;
        }
        counts
    }

    /// How many teardowns there are, and the longest of them.
    pub fn teardowns(&self) -> (usize, u64) {
        let spans = self.tracks.iter().filter_map(|track| match &track.shows {
            Shows::References { teardowns, .. } => Some(teardowns),
            _ => None,
        });
        let lengths: Vec<_> = spans.flatten().map(|of| of.span.end - of.span.begin).collect();
        (lengths.len(), lengths.into_iter().max().unwrap_or(0))
    }

    /// The longest teardown, of which provider and in which process.
    pub fn longest_teardown(&self) -> Option<(&Teardown, &'static str, &Lifetime)> {
        let all = self.tracks.iter().filter_map(|track| {
            let (provider, teardowns) = match &track.shows {
                Shows::References { provider, teardowns, .. } => (*provider, teardowns),
                _ => return None,
            };
            let process = self.processes.get(track.process)?;
            Some(teardowns.iter().map(move |of| (of, provider, process)))
        });
        all.flatten().max_by_key(|(of, ..)| of.span.end - of.span.begin)
    }
}

/// A provider's name, of its number.
fn provider_name(number: u32) -> &'static str {
    Provider::from_number(number).map_or("unknown", Provider::name)
}

/// A time as a person reads it.
pub(crate) fn time(microseconds: u64) -> String {
    match microseconds {
        0 => "0".to_owned(),
        1..1_000 => format!("{microseconds} \u{b5}s"),
        1_000..10_000 => trimmed(&format!("{}.{:02}", microseconds / 1_000, microseconds % 1_000 / 10), "ms"),
        10_000..1_000_000 => trimmed(&format!("{}.{}", microseconds / 1_000, microseconds % 1_000 / 100), "ms"),
        _ => trimmed(&format!("{}.{:02}", microseconds / 1_000_000, microseconds % 1_000_000 / 10_000), "s"),
    }
}

/// A decimal without trailing zeros, and its unit.
fn trimmed(number: &str, unit: &str) -> String {
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{number} {unit}")
}

/// Round times, at most `most` of them, for an axis that ends at `end`.
pub(crate) fn ticks(end: u64, most: u64) -> Vec<u64> {
    let rough = end.div_ceil(most.max(1)).max(1);
    let decade = 10_u64.saturating_pow(rough.ilog10());
    let step = [1, 2, 5, 10].iter().map(|of| of * decade).find(|&step| step >= rough).unwrap_or(10 * decade);
    (0..=end / step).map(|index| index * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_people_write_them() {
        let seen: Vec<_> = [0, 7, 999, 1_000, 1_250, 12_300, 250_000, 1_000_000, 61_500_000].map(time).into();
        assert_eq!(seen, ["0", "7 \u{b5}s", "999 \u{b5}s", "1 ms", "1.25 ms", "12.3 ms", "250 ms", "1 s", "61.5 s"]);
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(61_234, 8), [0, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000]);
        assert_eq!(ticks(7, 8), [0, 1, 2, 3, 4, 5, 6, 7]);
        for end in [1, 9, 11, 101, 999_999, 4_300_000] {
            assert!((1..=10).contains(&ticks(end, 8).len()), "{end}: {:?}", ticks(end, 8));
        }
    }
}
