//! A timeline in a terminal: how many requests of each kind were pending in each column, the references above, teardowns marked.

use super::{Outcome, Shows, Span, Teardown, Timeline, ticks, time};
use crate::output::{BAD, DIM, HEAD, WARN};
use anstyle::{AnsiColor, Style};
use std::{collections::BTreeMap, fmt::Write};

const LABEL: usize = 14;
/// What stands right of the columns.
const TOTALS: usize = 14;
/// Fewer columns would show nothing.
const FEWEST: usize = 24;
/// Eighths of a full column, from the lowest.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const DONE: Style = AnsiColor::Blue.on_default();

/// Draws it, so wide if that is wide enough.
pub(crate) fn draw(timeline: &Timeline, width: usize) -> String {
    let columns = width.saturating_sub(LABEL + TOTALS).max(FEWEST);
    Chart { timeline, columns }.draw()
}

struct Chart<'a> {
    timeline: &'a Timeline,
    /// Each is a stretch of time.
    columns: usize,
}
impl Chart<'_> {
    fn draw(&self) -> String {
        let timeline = self.timeline;
        let mut lines = vec![self.axis()];
        for name in providers(timeline) {
            lines.push(self.references(name));
        }
        lines.extend(self.teardowns());
        let sockets: Vec<_> = timeline.sockets.iter().map(|socket| (socket.span, Outcome::Done)).collect();
        if !sockets.is_empty() {
            lines.push(self.density("sockets", &sockets, Some(Style::new())));
        }
        let mut kinds: BTreeMap<&str, Vec<(Span, Outcome)>> = BTreeMap::new();
        for bar in &timeline.bars {
            kinds.entry(&bar.kind).or_default().push((bar.span, bar.outcome));
        }
        for (kind, spans) in kinds {
            lines.push(self.density(kind, &spans, None));
        }
        lines.push(legend());
        lines.extend(longest(timeline));
        lines.join("\n")
    }

    fn column(&self, at: u64) -> usize {
        let column = u128::from(at) * self.columns as u128 / u128::from(self.timeline.end.max(1));
        usize::try_from(column).unwrap_or(self.columns).min(self.columns - 1)
    }

    fn axis(&self) -> String {
        let mut line: Vec<char> = vec![' '; self.columns + 10];
        let mut free = 0;
        for at in ticks(self.timeline.end, self.columns as u64 / 12) {
            let first = self.column(at);
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

    /// The references of every process on a provider.
    fn references(&self, name: &str) -> String {
        let mut counts = vec![0_u32; self.columns];
        for track in &self.timeline.tracks {
            let Shows::References { provider, steps, .. } = &track.shows else { continue };
            if *provider != name {
                continue;
            }
            let mut most = vec![0_u32; self.columns];
            for (index, (at, count)) in steps.iter().enumerate() {
                let until = steps.get(index + 1).map_or(self.timeline.end, |(until, _)| *until);
                for cell in most.iter_mut().take(self.column(until) + 1).skip(self.column(*at)) {
                    *cell = (*cell).max(*count);
                }
            }
            counts.iter_mut().zip(most).for_each(|(sum, count)| *sum += count);
        }
        let style = HEAD;
        let cells: String = counts.iter().map(|&count| height(count, &counts)).collect();
        row(name, &format!("{style}{cells}{style:#}"), &format!("≤ {}", counts.iter().max().unwrap_or(&0)))
    }

    fn teardowns(&self) -> Option<String> {
        let (count, longest) = self.timeline.teardowns();
        let mut cells = vec![' '; self.columns];
        for track in &self.timeline.tracks {
            let Shows::References { teardowns, .. } = &track.shows else { continue };
            for Teardown { span, .. } in teardowns {
                for cell in cells.iter_mut().take(self.column(span.end) + 1).skip(self.column(span.begin)) {
                    *cell = '▼';
                }
            }
        }
        let cells: String = cells.into_iter().collect();
        (count > 0).then(|| row("teardowns", &format!("{BAD}{cells}{BAD:#}"), &format!("{count}, ≤ {}", time(longest))))
    }

    /// How many were pending at most in each column, in the colour of the worst that ended there.
    fn density(&self, label: &str, spans: &[(Span, Outcome)], style: Option<Style>) -> String {
        let mut changes = vec![0_i64; self.columns + 1];
        let mut worst: Vec<Option<Outcome>> = vec![None; self.columns];
        for (span, outcome) in spans {
            let (first, last) = (self.column(span.begin), self.column(span.end));
            changes[first] += 1;
            changes[last + 1] -= 1;
            worst[last] = worst[last].max(Some(*outcome));
        }
        let mut pending = 0;
        let counts: Vec<u32> = changes
            .iter()
            .take(self.columns)
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
}

fn row(label: &str, cells: &str, total: &str) -> String {
    format!("{label:>LABEL$} {cells} {total}").trim_end().to_owned()
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

fn height(count: u32, of: &[u32]) -> char {
    let most = of.iter().copied().max().unwrap_or(1).max(1);
    match count {
        0 => ' ',
        _ => HEIGHTS[((count * 8).div_ceil(most) as usize - 1).min(7)],
    }
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
