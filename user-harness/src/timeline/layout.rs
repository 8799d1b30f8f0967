//! From a recording to a layout: which process, which track, which row.

use super::{
    Bar, Lifetime, Outcome, Phase, Shows, SocketBar, Span, Teardown, Timeline, Track, provider_name, rows::Rows,
};
use crate::{
    StatusText,
    output::counted,
    record::{EXIT, Entry, PROCESS},
    status::STATUS_CANCELLED,
};
use std::collections::BTreeMap;

/// Sockets that lie closer than this part of the whole share no rows: one can see where one ends and the next begins.
const FINEST: u64 = 300;

pub(super) fn lay_out(title: &str, entries: &[Entry]) -> Timeline {
    let last = entries.iter().filter_map(|entry| entry.ended_us.or(Some(entry.begun_us))).max().unwrap_or(0).max(1);
    let mut timeline = Timeline {
        title: title.to_owned(),
        end: last + last / 100 + 1,
        processes: Vec::new(),
        tracks: Vec::new(),
        sockets: Vec::new(),
        bars: Vec::new(),
    };
    let mut processes: BTreeMap<u32, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        processes.entry(entry.process).or_default().push(entry);
    }
    // One that made no request has only its name.
    for entries in processes.into_values().filter(|of| of.iter().any(|entry| entry.kind != PROCESS)) {
        Process::new(&entries, last, &mut timeline).lay_out();
    }
    timeline
}

/// One process of the recording, being laid out.
struct Process<'a, 'b> {
    index: usize,
    requests: Vec<(&'a Entry, Span)>,
    exit: Option<&'a Entry>,
    name: Option<String>,
    end: u64,
    /// No less than this lies between two sockets of a row.
    gap: u64,
    timeline: &'b mut Timeline,
}

/// A socket of the recording: what made it, until when it lived, and its requests.
struct Socket<'a> {
    provider: Option<u32>,
    kind: &'static str,
    begin: u64,
    end: Option<u64>,
    ended_by: &'static str,
    requests: Vec<(&'a Entry, Span)>,
}

impl<'a, 'b> Process<'a, 'b> {
    fn new(entries: &[&'a Entry], last: u64, timeline: &'b mut Timeline) -> Self {
        let exit = entries.iter().find(|entry| entry.kind == EXIT).copied();
        let end = exit.and_then(|exit| exit.ended_us).unwrap_or(last);
        let name = entries.iter().find(|entry| entry.kind == PROCESS).map(|entry| entry.note.clone());
        let mut requests: Vec<_> = entries
            .iter()
            .filter(|entry| ![EXIT, PROCESS].contains(&&*entry.kind))
            .map(|&entry| {
                let ended = entry.ended_us.unwrap_or(end.max(entry.begun_us));
                (entry, Span { begin: entry.begun_us, end: ended.max(entry.begun_us) })
            })
            .collect();
        requests.sort_by_key(|(_, span)| (span.begin, span.end));
        let index = timeline.processes.len();
        Self { index, requests, exit, name, end, gap: timeline.end / FINEST, timeline }
    }

    fn lay_out(mut self) {
        let begin = self.requests.first().map_or(0, |(_, span)| span.begin);
        self.timeline.processes.push(Lifetime {
            label: self.name.take().unwrap_or_else(|| format!("process {}", self.index + 1)),
            span: Span { begin, end: self.end },
            ended_by: self.exit.map(|exit| exit.note.clone()).unwrap_or_default(),
        });
        let teardowns = self.references();
        let mut sockets = self.sockets(&teardowns);
        let mut calls = Vec::new();
        for (entry, span) in std::mem::take(&mut self.requests) {
            match entry.socket.and_then(|handle| sockets.get_mut(&handle)) {
                Some(socket) => socket.requests.push((entry, span)),
                None => calls.push((entry, span)),
            }
        }
        self.place_calls(calls);
        self.place_sockets(sockets);
    }

    /// A track for each provider that was started up. Gives each provider's teardowns.
    fn references(&mut self) -> BTreeMap<u32, Vec<Span>> {
        let begin = self.requests.first().map_or(0, |(_, span)| span.begin);
        let mut changes: BTreeMap<u32, Vec<(u64, i8, Span)>> = BTreeMap::new();
        for (entry, span) in &self.requests {
            let change = match (&*entry.kind, entry.status) {
                ("startup", Some(0..)) => 1,
                ("cleanup", Some(0..)) => -1,
                _ => continue,
            };
            changes.entry(entry.provider.unwrap_or(u32::MAX)).or_default().push((span.end, change, *span));
        }
        let mut teardowns = BTreeMap::new();
        for (provider, mut changes) in changes {
            changes.sort_by_key(|(at, ..)| *at);
            let (mut steps, mut ends, mut count) = (vec![(begin, 0)], Vec::new(), 0_u32);
            for (at, change, span) in changes {
                count = if change > 0 { count + 1 } else { count.saturating_sub(1) };
                steps.push((at, count));
                if change < 0 && count == 0 {
                    ends.push(span);
                }
            }
            if count > 0
                && let Some(exit) = self.exit
            {
                let end = exit.ended_us.unwrap_or(self.end);
                steps.push((end, 0));
                ends.push(Span { begin: exit.begun_us, end });
            }
            let phased = ends.iter().map(|&span| Teardown { span, phases: self.phases(span) }).collect();
            let shows = Shows::References { provider: provider_name(provider), steps, teardowns: phased };
            self.timeline.tracks.push(Track { process: self.index, rows: 1, shows });
            teardowns.insert(provider, ends);
        }
        teardowns
    }

    /// The phases of a teardown, as this process saw them: what was pending when it began ended cancelled, and then the rest was given
    /// back.
    fn phases(&self, teardown: Span) -> Vec<Phase> {
        const CLASSES: [(&str, &[&str]); 2] =
            [("event request", &["events"]), ("look-up", &["nametoaddresses", "addresstoname"])];
        let class = |kind: &str| CLASSES.iter().position(|(_, kinds)| kinds.contains(&kind)).unwrap_or(CLASSES.len());
        let mut ended = [(0, teardown.begin); CLASSES.len() + 1];
        for (entry, span) in &self.requests {
            let is_ended_by_it = entry.status.is_none_or(|status| status == STATUS_CANCELLED)
                && span.begin <= teardown.begin
                && (teardown.begin..=teardown.end).contains(&span.end)
                && entry.kind != "cleanup";
            if is_ended_by_it && let Some((count, last)) = ended.get_mut(class(&entry.kind)) {
                *count += 1;
                *last = span.end.max(*last);
            }
        }
        let (mut phases, mut at) = (Vec::new(), teardown.begin);
        let names = CLASSES.iter().map(|(name, _)| *name).chain(["request"]);
        for ((count, last), name) in ended.into_iter().zip(names).filter(|((count, _), _)| *count > 0) {
            at = last.max(at);
            phases.push(Phase { name: format!("{} ended", counted(count, name)), end: at });
        }
        phases.push(Phase { name: "the rest is given back".into(), end: teardown.end });
        phases
    }

    /// Every socket that a request made, with its end: its close, or its provider's teardown, or the process'.
    fn sockets(&self, teardowns: &BTreeMap<u32, Vec<Span>>) -> BTreeMap<u64, Socket<'a>> {
        let mut sockets: BTreeMap<u64, Socket<'a>> = BTreeMap::new();
        let mut by_end: Vec<_> = self.requests.iter().collect();
        by_end.sort_by_key(|(_, span)| span.end);
        for (entry, span) in by_end {
            if let Some(made) = entry.made {
                let listener = entry.socket.and_then(|listener| sockets.get(&listener));
                let provider = entry.provider.or_else(|| listener.and_then(|listener| listener.provider));
                let kind = if entry.kind == "accept" { "accepted" } else { "socket" };
                let socket = Socket {
                    provider,
                    kind,
                    begin: span.end,
                    end: None,
                    ended_by: "the end of the recording",
                    requests: vec![],
                };
                sockets.insert(made, socket);
            }
            if let Some(socket) = entry.socket.and_then(|handle| sockets.get_mut(&handle)) {
                match (&*entry.kind, entry.status) {
                    ("close", Some(0..)) => {
                        socket.end.get_or_insert(span.end);
                        socket.ended_by = "close";
                    }
                    ("listen", _) => socket.kind = "listener",
                    ("connect", _) => socket.kind = "connection",
                    _ => {}
                }
            }
        }
        for socket in sockets.values_mut() {
            let spans = socket.provider.and_then(|provider| teardowns.get(&provider));
            let teardown = spans.into_iter().flatten().find(|span| span.end >= socket.begin);
            if let Some(teardown) = teardown
                && socket.end.is_none_or(|end| end > teardown.end)
            {
                socket.end = Some(teardown.end);
                socket.ended_by = if self.exit.is_some_and(|exit| exit.begun_us == teardown.begin) {
                    "the process's end"
                } else {
                    "the teardown"
                };
            }
        }
        sockets
    }

    fn place_calls(&mut self, calls: Vec<(&'a Entry, Span)>) {
        if calls.is_empty() {
            return;
        }
        let track = self.timeline.tracks.len();
        let mut rows = Rows::default();
        for (entry, span) in calls {
            let row = rows.place(span, 1, 0);
            self.timeline.bars.push(bar(entry, span, track, row, None));
        }
        self.timeline.tracks.push(Track { process: self.index, rows: rows.count(), shows: Shows::Calls });
    }

    fn place_sockets(&mut self, sockets: BTreeMap<u64, Socket<'a>>) {
        if sockets.is_empty() {
            return;
        }
        let track = self.timeline.tracks.len();
        let mut sockets: Vec<_> = sockets.into_values().collect();
        sockets.sort_by_key(|socket| socket.begin);
        let mut rows = Rows::default();
        for (number, socket) in sockets.into_iter().enumerate() {
            let mut within = Rows::default();
            let placed: Vec<_> =
                socket.requests.iter().map(|&(entry, span)| (entry, span, within.place(span, 1, 0))).collect();
            let end = socket.end.unwrap_or(self.end).max(socket.begin);
            let last = placed.iter().map(|(_, span, _)| span.end).max().unwrap_or(0);
            let first = placed.iter().map(|(_, span, _)| span.begin).min().unwrap_or(socket.begin);
            let height = within.count().max(1);
            let taken = Span { begin: socket.begin.min(first), end: end.max(last) };
            let row = rows.place(taken, height, self.gap);
            let index = self.timeline.sockets.len();
            for (entry, span, below) in placed {
                self.timeline.bars.push(bar(entry, span, track, row + below, Some(index)));
            }
            self.timeline.sockets.push(SocketBar {
                span: Span { begin: socket.begin, end },
                track,
                row,
                rows: height,
                label: format!("{} {}", socket.kind, number + 1),
                ended_by: socket.ended_by,
            });
        }
        self.timeline.tracks.push(Track { process: self.index, rows: rows.count(), shows: Shows::Sockets });
    }
}

fn bar(entry: &Entry, span: Span, track: usize, row: usize, socket: Option<usize>) -> Bar {
    let provider = entry.provider.map(provider_name).unwrap_or_default();
    let note = [provider, &entry.note].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    Bar {
        span,
        track,
        row,
        kind: entry.kind.clone(),
        outcome: Outcome::of(entry.status),
        status: entry.status.map_or_else(|| "not seen".to_owned(), |status| StatusText(status).to_string()),
        information: entry.information,
        note,
        socket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, begun_us: u64, ended_us: u64) -> Entry {
        Entry { kind: kind.into(), begun_us, ended_us: Some(ended_us), status: Some(0), ..Entry::default() }
    }

    fn on(socket: u64, entry: Entry) -> Entry {
        Entry { socket: Some(socket), ..entry }
    }

    fn of(provider: u32, entry: Entry) -> Entry {
        Entry { provider: Some(provider), ..entry }
    }

    /// Two references, a socket with a receive that the teardown cancels, one that is closed before.
    fn run() -> Vec<Entry> {
        vec![
            Entry { note: "main".into(), ..entry(PROCESS, 0, 0) },
            of(0, entry("startup", 10, 12)),
            of(0, entry("startup", 13, 14)),
            Entry { made: Some(77), ..of(0, entry("socket", 15, 16)) },
            on(77, entry("connect", 17, 20)),
            Entry { status: Some(STATUS_CANCELLED), ..on(77, entry("receive", 21, 95)) },
            on(77, entry("send", 22, 30)),
            Entry { made: Some(78), ..of(0, entry("socket", 31, 32)) },
            on(78, entry("close", 40, 45)),
            of(0, entry("cleanup", 50, 51)),
            of(0, entry("cleanup", 90, 100)),
        ]
    }

    #[test]
    fn references_rise_and_fall_and_the_last_cleanup_is_a_teardown() {
        let timeline = Timeline::of("run", &run());
        let Shows::References { provider, steps, teardowns } = &timeline.tracks[0].shows else { panic!("references") };
        assert_eq!(*provider, "application");
        assert_eq!(*steps, [(10, 0), (12, 1), (14, 2), (51, 1), (100, 0)]);
        let phases: Vec<_> = teardowns[0].phases.iter().map(|phase| (&*phase.name, phase.end)).collect();
        assert_eq!((teardowns.len(), teardowns[0].span), (1, Span { begin: 90, end: 100 }));
        assert_eq!(phases, [("1 request ended", 95), ("the rest is given back", 100)]);
        assert_eq!(teardowns[0].describe(), "1 request ended 5 \u{b5}s, the rest is given back 5 \u{b5}s");
    }

    #[test]
    fn a_socket_lives_until_its_close_or_its_providers_teardown() {
        let timeline = Timeline::of("run", &run());
        let lives: Vec<_> =
            timeline.sockets.iter().map(|socket| (socket.span.begin, socket.span.end, socket.ended_by)).collect();
        assert_eq!(lives, [(16, 100, "the teardown"), (32, 45, "close")]);
        assert_eq!(timeline.sockets[0].rows, 2, "the send lies below the receive");
        assert_eq!(timeline.sockets[0].label, "connection 1");
    }

    #[test]
    fn no_two_requests_of_a_track_share_a_row_at_a_time() {
        let timeline = Timeline::of("run", &run());
        for (index, one) in timeline.bars.iter().enumerate() {
            for other in timeline.bars.iter().skip(index + 1) {
                let meet = one.span.begin < other.span.end && other.span.begin < one.span.end;
                assert!(!meet || (one.track, one.row) != (other.track, other.row), "{one:?} {other:?}");
            }
        }
        assert_eq!(timeline.bars.len(), run().len() - 1, "every request has its bar");
        assert_eq!(timeline.processes[0].label, "main");
        assert_eq!(timeline.outcomes()[&Outcome::Cancelled], 1);
    }

    #[test]
    fn a_process_that_dies_is_torn_down_by_its_end() {
        let mut entries = run();
        entries.truncate(7);
        entries.push(Entry { note: "killed".into(), ..entry("exit", 60, 80) });
        let timeline = Timeline::of("run", &entries);
        let Shows::References { steps, teardowns, .. } = &timeline.tracks[0].shows else { panic!("references") };
        let spans: Vec<_> = teardowns.iter().map(|of| of.span).collect();
        assert_eq!((steps.last(), &spans[..]), (Some(&(80, 0)), &[Span { begin: 60, end: 80 }][..]));
        assert_eq!(timeline.sockets[0].ended_by, "the process's end");
        assert_eq!(timeline.processes[0].ended_by, "killed");
    }

    #[test]
    fn every_form_of_the_picture_shows_every_request() {
        let timeline = Timeline::of("a <run>", &run());
        let svg = crate::timeline::svg::draw(&timeline);
        assert_eq!(svg.matches("rx=\"1.5\"").count(), timeline.bars.len());
        assert!(svg.contains("a &lt;run&gt;") && !svg.contains("a <run>"));
        assert!(
            svg.contains("WSA_OPERATION_ABORTED (995)")
                && svg.contains("teardown of application, 10 \u{b5}s: 1 request ended")
        );
        let html = crate::timeline::html::draw(&timeline);
        assert!(!html.contains("{{") && !html.contains("http:") && !html.contains("https:"), "nothing from elsewhere");
        let drawn = |width| anstream::adapter::strip_str(&crate::timeline::text::draw(&timeline, width)).to_string();
        let (text, narrow) = (drawn(100), drawn(60));
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let chart = |text: &str| {
            text.lines().take_while(|line| !line.contains("height:")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(chart(&narrow).iter().all(|line| line.chars().count() <= 60), "{narrow}");
        assert!(["application", "teardowns", "receive", "sockets"].iter().all(|word| text.contains(word)), "{text}");
    }

    #[test]
    fn an_empty_recording_is_an_empty_picture() {
        let timeline = Timeline::of("nothing", &[]);
        assert!(crate::timeline::svg::draw(&timeline).ends_with("</svg>\n"));
        assert!(!crate::timeline::text::draw(&timeline, 0).is_empty());
    }
}
