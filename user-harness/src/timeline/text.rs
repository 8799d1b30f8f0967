//! A timeline in a terminal: how many requests of each kind were pending in each column, the references above, teardowns marked.

use super::{Outcome, Shows, Span, Teardown, Timeline, ticks, time};
use crate::output::{BAD, DIM, HEAD, WARN};
use anstyle::{AnsiColor, Style};
use std::{collections::BTreeMap, fmt::Write};

const LABEL: usize = 14;
const COLUMNS: usize = 72;
/// Eighths of a full column, from the lowest.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const DONE: Style = AnsiColor::Blue.on_default();

/// Draws it, at most 100 columns wide.
pub(crate) fn draw(timeline: &Timeline) -> String {
    let mut lines = vec![axis(timeline)];
    for name in providers(timeline) {
        lines.push(references(timeline, name));
    }
    if let Some(line) = teardowns(timeline) {
        lines.push(line);
    }
    let sockets: Vec<_> = timeline.sockets.iter().map(|socket| (socket.span, Outcome::Done)).collect();
    if !sockets.is_empty() {
        lines.push(density(timeline, "sockets", &sockets, Some(Style::new())));
    }
    let mut kinds: BTreeMap<&str, Vec<(Span, Outcome)>> = BTreeMap::new();
    for bar in &timeline.bars {
        kinds.entry(&bar.kind).or_default().push((bar.span, bar.outcome));
    }
    for (kind, spans) in kinds {
        lines.push(density(timeline, kind, &spans, None));
    }
    lines.push(legend());
    lines.extend(longest(timeline));
    lines.join("\n")
}

fn column(timeline: &Timeline, at: u64) -> usize {
    let column = u128::from(at) * COLUMNS as u128 / u128::from(timeline.end.max(1));
    usize::try_from(column).unwrap_or(COLUMNS).min(COLUMNS - 1)
}

fn row(label: &str, cells: &str, total: &str) -> String {
    format!("{label:>LABEL$} {cells} {total}").trim_end().to_owned()
}

fn axis(timeline: &Timeline) -> String {
    let mut line: Vec<char> = vec![' '; COLUMNS + 10];
    let mut free = 0;
    for at in ticks(timeline.end, 6) {
        let first = column(timeline, at);
        let label: Vec<char> = std::iter::once('╷').chain(time(at).chars()).collect();
        if first >= free && first + label.len() < line.len() {
            for (cell, character) in line.iter_mut().skip(first).zip(&label) {
                *cell = *character;
            }
            free = first + label.len() + 1;
        }
    }
    let line: String = line.into_iter().collect();
    format!("{DIM}{}{DIM:#}", row("", line.trim_end(), ""))
}

fn providers(timeline: &Timeline) -> Vec<&'static str> {
    let mut names: Vec<_> = timeline
        .tracks
        .iter()
        .filter_map(|track| match &track.shows {
            Shows::References { provider, .. } => Some(*provider),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The references of every process on a provider.
fn references(timeline: &Timeline, name: &str) -> String {
    let mut counts = [0_u32; COLUMNS];
    for track in &timeline.tracks {
        let Shows::References { provider, steps, .. } = &track.shows else { continue };
        if *provider != name {
            continue;
        }
        let mut most = [0_u32; COLUMNS];
        for (index, (at, count)) in steps.iter().enumerate() {
            let until = steps.get(index + 1).map_or(timeline.end, |(until, _)| *until);
            for cell in most.iter_mut().take(column(timeline, until) + 1).skip(column(timeline, *at)) {
                *cell = (*cell).max(*count);
            }
        }
        counts.iter_mut().zip(most).for_each(|(sum, count)| *sum += count);
    }
    let style = HEAD;
    let cells: String = counts.iter().map(|&count| height(count, &counts)).collect();
    row(name, &format!("{style}{cells}{style:#}"), &format!("≤ {}", counts.iter().max().unwrap_or(&0)))
}

fn height(count: u32, of: &[u32]) -> char {
    let most = of.iter().copied().max().unwrap_or(1).max(1);
    match count {
        0 => ' ',
        _ => HEIGHTS[((count * 8).div_ceil(most) as usize - 1).min(7)],
    }
}

fn teardowns(timeline: &Timeline) -> Option<String> {
    let (count, longest) = timeline.teardowns();
    let mut cells = [' '; COLUMNS];
    for track in &timeline.tracks {
        let Shows::References { teardowns, .. } = &track.shows else { continue };
        for Teardown { span, .. } in teardowns {
            for cell in cells.iter_mut().take(column(timeline, span.end) + 1).skip(column(timeline, span.begin)) {
                *cell = '▼';
            }
        }
    }
    let cells: String = cells.into_iter().collect();
    (count > 0).then(|| row("teardowns", &format!("{BAD}{cells}{BAD:#}"), &format!("{count}, ≤ {}", time(longest))))
}

/// How many were pending at most in each column, in the colour of the worst that ended there.
fn density(timeline: &Timeline, label: &str, spans: &[(Span, Outcome)], style: Option<Style>) -> String {
    let mut changes = [0_i64; COLUMNS + 1];
    let mut worst: [Option<Outcome>; COLUMNS] = [None; COLUMNS];
    for (span, outcome) in spans {
        let (first, last) = (column(timeline, span.begin), column(timeline, span.end));
        changes[first] += 1;
        changes[last + 1] -= 1;
        worst[last] = worst[last].max(Some(*outcome));
    }
    let mut pending = 0;
    let counts: Vec<u32> = changes
        .iter()
        .take(COLUMNS)
        .map(|change| {
            pending += change;
            u32::try_from(pending).unwrap_or(0)
        })
        .collect();
    let mut cells = String::new();
    for (&count, worst) in counts.iter().zip(worst) {
        let style = style.unwrap_or(match worst {
            Some(Outcome::Failed) => BAD,
            Some(Outcome::Cancelled) => WARN,
            Some(Outcome::Unseen) => DIM,
            _ => DONE,
        });
        // A string takes all that is written to it.
        let _ = write!(cells, "{style}{}{style:#}", height(count, &counts));
    }
    row(label, &cells, &spans.len().to_string())
}

/// Where the longest teardown's time went.
fn longest(timeline: &Timeline) -> Option<String> {
    let (teardown, provider, process) = timeline.longest_teardown()?;
    let took = time(teardown.span.end - teardown.span.begin);
    let whose = format!("{took}, {provider} of {}", process.label);
    Some(format!("{}\n{:LABEL$} {}", row("longest", &whose, ""), "", teardown.describe()))
}

fn legend() -> String {
    format!(
        "{:LABEL$} {DIM}height: pending at a time; colour of what ended there:{DIM:#} {DONE}succeeded{DONE:#} {WARN}cancelled{WARN:#} \
         {BAD}failed{BAD:#}",
        ""
    )
}
