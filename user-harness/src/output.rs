//! How a command speaks: events on standard output, for a person or one JSON object per line; all else on standard error.

use crate::{Cause, Error, Exit};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// How a command reports on its standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text for a person
    #[default]
    Human,
    /// One JSON object per line
    Json,
}

/// Heads.
pub(crate) const HEAD: Style = AnsiColor::Cyan.on_default().bold();
/// What went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// What a person should look at.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default().bold();
/// What went wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What need not be read.
pub(crate) const DIM: Style = Style::new().dimmed();

/// A number of things: `1 socket`, `2 sockets`.
pub(crate) fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// How many columns standard output has: a terminal's, at most 100.
pub(crate) fn width() -> usize {
    const WIDEST: usize = 100;
    let terminal = terminal_size::terminal_size_of(std::io::stdout());
    terminal.map_or(WIDEST, |(width, _)| usize::from(width.0).min(WIDEST))
}

/// Something that happened, in both forms.
pub(crate) trait Event: Serialize {
    /// The text for a person: whole lines without the last line end, styled with ANSI sequences.
    fn human(&self) -> String;
}

/// Where a command reports: standard output, or standard error where standard output is a connection's. Colour goes to terminals
/// only, and not where `NO_COLOR` is set.
pub(crate) struct Output {
    format: Format,
    stream: Box<dyn Write>,
    name: &'static str,
    besides: bool,
    /// How the process ends once nothing can be written any more.
    broken: Option<Exit>,
}

impl Output {
    pub fn new(format: Format) -> Self {
        Self { format, stream: Box::new(anstream::stdout()), name: "standard output", besides: false, broken: None }
    }

    /// Reports on standard error.
    pub fn besides(format: Format) -> Self {
        Self { format, stream: Box::new(anstream::stderr()), name: "standard error", besides: true, broken: None }
    }

    /// Writes one event for programs only: people read it elsewhere.
    pub fn emit_json(&mut self, event: &impl Event) -> Result<(), Error> {
        match self.format {
            Format::Human => Ok(()),
            Format::Json => self.emit(event),
        }
    }

    /// Writes one event, at once: whoever reads along sees it when it happened.
    pub fn emit(&mut self, event: &impl Event) -> Result<(), Error> {
        let line = match self.format {
            Format::Human => event.human(),
            Format::Json => serde_json::to_string(event).map_err(|error| Error::host("write JSON", error.into()))?,
        };
        self.line(&line)
    }

    /// Writes text that is no event (help, a completion script), whole lines without the last line end. A program gets it as an
    /// object, like everything else.
    pub fn text(&mut self, text: &str) -> Result<(), Error> {
        match self.format {
            Format::Human => self.line(text),
            Format::Json => self.emit(&Text { event: "text", text: &anstream::adapter::strip_str(text).to_string() }),
        }
    }

    /// Writes whole lines. That they can't be written is told once.
    fn line(&mut self, text: &str) -> Result<(), Error> {
        let what = || format!("write to {}", self.name);
        if let Some(exit) = self.broken {
            return Err(Error::new(what(), Cause::Told(exit)));
        }
        let written = writeln!(self.stream, "{text}").and_then(|()| self.stream.flush());
        written.map_err(|error| {
            let error = match error.kind() {
                std::io::ErrorKind::BrokenPipe => Error::new(what(), Cause::NobodyReads),
                _ => Error::host(what(), error),
            };
            self.broken = Some(error.exit());
            error
        })
    }

    /// Tells that the command failed: on standard error for a person, and to a program as its own object.
    pub fn fail(&mut self, error: &Error) {
        // A program that reads standard error gets objects there, and nothing else.
        if !self.besides || self.format == Format::Human {
            report(error);
        }
        self.fail_json(error);
    }

    /// Tells a program that the command failed; people know it already.
    pub fn fail_json(&mut self, error: &Error) {
        if self.format == Format::Json && !matches!(error.cause(), Cause::NobodyReads | Cause::Told(_)) {
            // The exit code says it too.
            let _ = self.emit(&Failure(error));
        }
    }

    /// How results are written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether a person looks at a screen that can be drawn over.
    pub fn is_screen(&self) -> bool {
        self.format == Format::Human && std::io::stdout().is_terminal()
    }
}

/// The `text` object of `wskctl help json`.
#[derive(Serialize)]
struct Text<'a> {
    event: &'static str,
    text: &'a str,
}

impl Event for Text<'_> {
    fn human(&self) -> String {
        self.text.to_owned()
    }
}

/// The `error` object of `wskctl help json`.
struct Failure<'a>(&'a Error);

impl Serialize for Failure<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(error) = self;
        let status = error.ntstatus();
        // The lab's report is for a person, and went to standard error.
        let text = error.to_string();
        serde_json::json!({
            "event": "error",
            "what": error.what(),
            "error": text.lines().next(),
            "status": status.map(|status| format!("{status:#010X}")),
            "status_name": status.and_then(crate::status_name),
            "winsock": error.winsock().map(crate::abi::WsaError::code),
            "winsock_name": error.winsock().map(crate::abi::WsaError::name),
            "advice": error.advice(),
            "exit_code": error.exit() as u8,
        })
        .serialize(serializer)
    }
}

impl Event for Failure<'_> {
    fn human(&self) -> String {
        self.0.to_string()
    }
}

/// Reports an error on standard error: what failed, and what to try. Not told are what was, and that nobody
/// reads the output any more.
pub(crate) fn report(error: &Error) {
    if matches!(error.cause(), Cause::NobodyReads | Cause::Told(_)) {
        return;
    }
    let mut text = format!("{BAD}wskctl:{BAD:#} {error}\n");
    if let Some(advice) = error.advice() {
        text.push_str("  try: ");
        text.push_str(advice);
        text.push('\n');
    }
    // Where standard error is gone too, the exit code is all that is left.
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Rows under an underlined header, for a person; columns are two apart.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// A table with these columns; those numbered in `right` hold numbers.
    pub fn new(header: &[&str], right: &[usize]) -> Self {
        let mut table = comfy_table::Table::new();
        let head = Style::new().underline();
        table
            .load_preset(comfy_table::presets::NOTHING)
            .set_header(header.iter().map(|name| format!("{head}{name}{head:#}")));
        for &index in right {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(comfy_table::CellAlignment::Right);
            }
        }
        Self(table)
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<comfy_table::Cell>>) {
        self.0.add_row(cells.into_iter().map(Into::into).collect::<Vec<comfy_table::Cell>>());
    }

    /// The table's lines, moved right by `indent` columns.
    pub fn text(&self, indent: usize) -> String {
        let lines: Vec<_> = self.0.lines().map(|line| format!("{:indent$}{}", "", line.trim_end())).collect();
        lines.join("\n")
    }
}
