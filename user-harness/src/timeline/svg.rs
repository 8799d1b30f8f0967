//! A timeline as an SVG picture: whole, still, light or dark as the viewer is.

use super::{Bar, Outcome, Shows, SocketBar, Span, Teardown, Timeline, Track, ticks, time};
use std::fmt::{self, Write};

/// Everything is in pixels.
const WIDTH: u64 = 1200;
const LEFT: u64 = 132;
const RIGHT: u64 = 16;
const TOP: u64 = 74;
/// A references track.
const STEPS: u64 = 34;
const HEAD: u64 = 22;
/// Between tracks.
const GAP: u64 = 10;
/// What the rows of the whole picture may take, as far as they stay readable.
const ROWS: u64 = 1500;
/// Of a letter of the labels within bars.
const LETTER: u64 = 6;
/// Of a number of references.
const COUNT: f64 = 12.0;

const STYLE: &str = "
svg{--back:#fff;--ink:#1f2937;--soft:#6b7280;--line:#e5e7eb;--socket:#eef1f5;--edge:#c9d1dc;--done:#3b82c4;--cancelled:#e39a0c;
--failed:#cf3f4f;--unseen:#9ca3af;--refs:#7c6bd6;--down:#cf3f4f;--on:#fff;font:12px system-ui,'Segoe UI',sans-serif}
@media(prefers-color-scheme:dark){svg{--back:#12161c;--ink:#e5e9f0;--soft:#98a2b3;--line:#262d38;--socket:#1b222c;--edge:#39434f;
--done:#4d94d8;--cancelled:#eaa92c;--failed:#e5606d;--unseen:#7b8594;--refs:#9385e6;--down:#e5606d;--on:#0d1117}}
.back{fill:var(--back)}text{fill:var(--ink)}.soft{fill:var(--soft)}.title{font-size:16px;font-weight:600}.head{font-weight:600}
.line{stroke:var(--line)}.socket{fill:var(--socket);stroke:var(--edge);stroke-width:.7}.count{font-size:10px}.in{font-size:10px;fill:var(--on)}
.in.cancelled{fill:#2b1d00}
rect.done{fill:var(--done)}rect.cancelled{fill:var(--cancelled)}rect.failed{fill:var(--failed)}
.unseen{fill:none;stroke:var(--unseen);stroke-width:1}.refs{fill:var(--refs);fill-opacity:.28;stroke:var(--refs);stroke-width:1.2}
.down{fill:var(--down);fill-opacity:.13}.downline{stroke:var(--down);stroke-dasharray:3 2}";

/// Draws it.
pub(crate) fn draw(timeline: &Timeline) -> String {
    let mut text = String::new();
    // A string takes all that is written to it.
    let _ = Picture::new(timeline).draw(&mut text);
    text
}

struct Picture<'a> {
    timeline: &'a Timeline,
    /// Height of a row.
    row: u64,
    /// Where each track begins.
    tops: Vec<u64>,
    /// Where each process' head begins, and its tracks end.
    heads: Vec<(u64, u64)>,
    height: u64,
}

impl<'a> Picture<'a> {
    fn new(timeline: &'a Timeline) -> Self {
        let rows: usize = timeline.tracks.iter().map(|track| track.rows).sum();
        let row = (ROWS / (rows as u64).max(1)).clamp(4, 16);
        let (mut y, mut tops, mut heads) = (TOP, Vec::new(), Vec::new());
        for process in 0..timeline.processes.len() {
            let head = y;
            y += HEAD;
            for track in timeline.tracks.iter().filter(|track| track.process == process) {
                tops.push(y);
                y += height(track, row) + GAP;
            }
            heads.push((head, y));
        }
        Self { timeline, row, tops, heads, height: y + 14 }
    }

    fn x(&self, at: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let (at, end, room) = (at as f64, self.timeline.end as f64, (WIDTH - LEFT - RIGHT) as f64);
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let left = LEFT as f64;
        left + room * (at / end)
    }

    /// Where a stretch begins, and how wide it is: never too narrow to see.
    fn stretch(&self, span: Span) -> (f64, f64) {
        let begin = self.x(span.begin);
        (begin, (self.x(span.end) - begin).max(1.6))
    }

    fn draw(&self, out: &mut String) -> fmt::Result {
        let height = self.height;
        write!(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" ")?;
        writeln!(out, "height=\"{height}\" role=\"img\"><title>{}</title>", escaped(&self.timeline.title))?;
        writeln!(out, "<style>{STYLE}</style><rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>")?;
        self.head(out)?;
        self.axis(out)?;
        self.processes(out)?;
        for socket in &self.timeline.sockets {
            self.socket(out, socket)?;
        }
        for (track, top) in self.timeline.tracks.iter().zip(&self.tops) {
            self.track(out, track, *top)?;
        }
        for bar in &self.timeline.bars {
            self.bar(out, bar)?;
        }
        writeln!(out, "</svg>")
    }

    fn head(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "<text class=\"title\" x=\"16\" y=\"27\">{}</text>", escaped(&self.timeline.title))?;
        let counts = self.timeline.outcomes();
        let mut x = 16;
        for outcome in Outcome::ALL {
            let Some(count) = counts.get(&outcome) else { continue };
            let (class, label) = (class(outcome), format!("{} {count}", outcome.name()));
            writeln!(out, "<rect class=\"{class}\" x=\"{x}\" y=\"38\" width=\"12\" height=\"10\" rx=\"2\"/>")?;
            writeln!(out, "<text class=\"soft\" x=\"{}\" y=\"47\">{label}</text>", x + 17)?;
            x += 40 + 7 * label.len() as u64;
        }
        let more = [("refs", "references"), ("down", "teardown"), ("socket", "socket")];
        for (class, label) in more {
            writeln!(out, "<rect class=\"{class}\" x=\"{x}\" y=\"38\" width=\"12\" height=\"10\" rx=\"2\"/>")?;
            writeln!(out, "<text class=\"soft\" x=\"{}\" y=\"47\">{label}</text>", x + 17)?;
            x += 40 + 7 * label.len() as u64;
        }
        Ok(())
    }

    fn axis(&self, out: &mut String) -> fmt::Result {
        for at in ticks(self.timeline.end, 10) {
            let x = self.x(at);
            let bottom = self.height - 10;
            writeln!(out, "<line class=\"line\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{bottom}\"/>", TOP - 6)?;
            writeln!(
                out,
                "<text class=\"soft\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                TOP - 10,
                time(at)
            )?;
        }
        Ok(())
    }

    fn processes(&self, out: &mut String) -> fmt::Result {
        for (process, (top, bottom)) in self.timeline.processes.iter().zip(&self.heads) {
            let y = top + 14;
            writeln!(out, "<line class=\"line\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{top}\" y2=\"{top}\"/>")?;
            writeln!(out, "<text class=\"head\" x=\"16\" y=\"{y}\">{}</text>", escaped(&process.label))?;
            if process.ended_by.is_empty() {
                continue;
            }
            let x = self.x(process.span.end);
            let (anchor, nudge) = if x > 1000.0 { ("end", -4.0) } else { ("start", 4.0) };
            writeln!(out, "<line class=\"downline\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>")?;
            let ended_by = escaped(&process.ended_by);
            writeln!(
                out,
                "<text class=\"soft\" x=\"{:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{ended_by}</text>",
                x + nudge
            )?;
        }
        Ok(())
    }

    fn track(&self, out: &mut String, track: &Track, top: u64) -> fmt::Result {
        let label = match &track.shows {
            Shows::References { provider, .. } => provider,
            Shows::Calls => "calls",
            Shows::Sockets => "sockets",
        };
        let middle = top + (height(track, self.row).min(STEPS)) / 2 + 4;
        writeln!(out, "<text class=\"soft\" x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{label}</text>", LEFT - 12)?;
        if let Shows::References { steps, teardowns, .. } = &track.shows {
            self.references(out, track, top, steps)?;
            let bottom = self.heads.get(track.process).map_or(top, |(_, bottom)| *bottom) - GAP;
            for teardown in teardowns {
                self.teardown(out, teardown, label, (top, bottom))?;
            }
        }
        Ok(())
    }

    /// A band through the process' tracks; its phases alternate in strength.
    fn teardown(&self, out: &mut String, of: &Teardown, label: &str, (top, bottom): (u64, u64)) -> fmt::Result {
        let took = time(of.span.end - of.span.begin);
        writeln!(out, "<g><title>teardown of {label}, {took}: {}</title>", of.describe())?;
        let (x, width) = self.stretch(of.span);
        let height = bottom - top;
        writeln!(out, "<rect class=\"down\" x=\"{x:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\"/>")?;
        for (span, _) in of.stretches().skip(1).step_by(2) {
            let (x, width) = (self.x(span.begin), self.x(span.end) - self.x(span.begin));
            writeln!(out, "<rect class=\"down\" x=\"{x:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\"/>")?;
        }
        writeln!(out, "</g>")
    }

    fn references(&self, out: &mut String, track: &Track, top: u64, steps: &[(u64, u32)]) -> fmt::Result {
        let most = steps.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
        let base = top + STEPS;
        let y = |count: u32| base - u64::from(count) * (STEPS - 4) / u64::from(most);
        let mut path = format!("M{:.1} {base}", self.x(steps.first().map_or(0, |(at, _)| *at)));
        for (at, count) in steps {
            write!(path, "H{:.1}V{}", self.x(*at), y(*count))?;
        }
        let end = self.timeline.processes.get(track.process).map_or(self.timeline.end, |process| process.span.end);
        write!(path, "H{:.1}V{base}Z", self.x(end))?;
        writeln!(out, "<path class=\"refs\" d=\"{path}\"><title>references, at most {most}</title></path>")?;
        for (index, (at, count)) in steps.iter().enumerate() {
            let (x, next) = (self.x(*at), self.x(steps.get(index + 1).map_or(end, |(next, _)| *next)));
            if *count > 0 && next - x > COUNT {
                // Above the line where there is no room below it.
                let below = base - y(*count) >= 12;
                let line = if below { y(*count) + 10 } else { y(*count) - 3 };
                writeln!(out, "<text class=\"count\" x=\"{:.1}\" y=\"{line}\">{count}</text>", x + 3.0)?;
            }
        }
        Ok(())
    }

    fn top(&self, track: usize, row: usize) -> u64 {
        self.tops.get(track).copied().unwrap_or_default() + row as u64 * self.row
    }

    fn socket(&self, out: &mut String, socket: &SocketBar) -> fmt::Result {
        let (x, width) = self.stretch(socket.span);
        let y = self.top(socket.track, socket.row);
        let height = socket.rows as u64 * self.row;
        let took = time(socket.span.end - socket.span.begin);
        write!(
            out,
            "<rect class=\"socket\" x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" rx=\"2\">"
        )?;
        writeln!(out, "<title>{}: {took}, ended by {}</title></rect>", escaped(&socket.label), socket.ended_by)
    }

    fn bar(&self, out: &mut String, bar: &Bar) -> fmt::Result {
        let (x, width) = self.stretch(bar.span);
        let y = self.top(bar.track, bar.row) + 1;
        let (class, height) = (class(bar.outcome), self.row - 2);
        write!(
            out,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" rx=\"1.5\">"
        )?;
        let took = time(bar.span.end - bar.span.begin);
        let note = if bar.note.is_empty() { String::new() } else { format!(" ({})", escaped(&bar.note)) };
        writeln!(out, "<title>{}{note}: {took}, {}, {} bytes</title></rect>", bar.kind, bar.status, bar.information)?;
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let fits = width > (bar.kind.len() as u64 * LETTER + 6) as f64;
        if fits && self.row >= 12 && bar.outcome != Outcome::Unseen {
            writeln!(
                out,
                "<text class=\"in {class}\" x=\"{:.1}\" y=\"{}\">{}</text>",
                x + 4.0,
                y + self.row - 6,
                bar.kind
            )?;
        }
        Ok(())
    }
}

fn height(track: &Track, row: u64) -> u64 {
    match track.shows {
        Shows::References { .. } => STEPS,
        _ => track.rows as u64 * row,
    }
}

const fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Cancelled => "cancelled",
        Outcome::Failed => "failed",
        Outcome::Unseen => "unseen",
    }
}

/// Text within XML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
