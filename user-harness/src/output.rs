//! How a command speaks: events on standard output, for a person or one JSON object per line; all else on standard error.

use crate::Error;
use serde::Serialize;
use std::io::Write;

/// How a command reports on its standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text for a person
    #[default]
    Human,
    /// One JSON object per line
    Json,
}

/// Something that happened, in both forms.
pub(crate) trait Event: Serialize {
    /// The text for a person: whole lines without the last line end, styled with ANSI sequences.
    fn human(&self) -> String;
}

/// Standard output. Colour goes to terminals only, and not where `NO_COLOR` is set.
pub(crate) struct Output {
    format: Format,
    stream: anstream::AutoStream<std::io::Stdout>,
}

impl Output {
    pub fn new(format: Format) -> Self {
        Self { format, stream: anstream::stdout() }
    }

    /// Writes one event, at once: whoever reads along sees it when it happened.
    pub fn emit(&mut self, event: &impl Event) -> Result<(), Error> {
        let line = match self.format {
            Format::Human => event.human(),
            Format::Json => serde_json::to_string(event).map_err(|error| Error::host("write JSON", error.into()))?,
        };
        writeln!(self.stream, "{line}")
            .and_then(|()| self.stream.flush())
            .map_err(|error| Error::host("write to standard output", error))
    }
}

/// Reports an error on standard error: what failed, and what to try.
pub(crate) fn report(error: &Error) {
    let red = anstyle::AnsiColor::Red.on_default().bold();
    anstream::eprintln!("{red}wskctl:{red:#} {error}");
    if let Some(advice) = error.advice() {
        anstream::eprintln!("  try: {advice}");
    }
}

/// Rows under a header, for a person: no lines drawn, columns two apart.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// A table with these columns; those numbered in `right` hold numbers.
    pub fn new(header: &[&str], right: &[usize]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::NOTHING).set_header(header);
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
