//! Where the shell's lines come from: a line editor at a terminal, standard input otherwise.

use super::words::COMMANDS;
use crate::{Error, abi::Provider};
use rustyline::{
    Config, Context, Editor, Helper,
    completion::{Completer, Pair},
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::DefaultHistory,
    validate::Validator,
};
use std::io::{self, BufRead, IsTerminal};

pub(super) enum Lines {
    Terminal(Box<Editor<Words, DefaultHistory>>),
    Script { number: usize },
}

/// What can be completed: commands first on a line, names after them.
pub(super) struct Words {
    names: Vec<String>,
}

impl Helper for Words {}
impl Highlighter for Words {}
impl Validator for Words {}

impl Hinter for Words {
    type Hint = String;
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..position).unwrap_or(line);
        let start = before.rfind(char::is_whitespace).map_or(0, |space| space + 1);
        let word = before.get(start..).unwrap_or_default();
        let fits = |candidate: &&str| candidate.starts_with(word);
        let commands = COMMANDS.iter().map(|command| command.name);
        let providers = Provider::ALL.iter().map(|provider| provider.name());
        let pair = |word: &str| Pair { display: word.to_owned(), replacement: format!("{word} ") };
        let found: Vec<Pair> = if before.get(..start).unwrap_or_default().trim().is_empty() {
            commands.filter(fits).map(pair).collect()
        } else {
            self.names.iter().map(String::as_str).chain(providers).filter(fits).map(pair).collect()
        };
        Ok((start, found))
    }
}

fn failed(error: ReadlineError) -> Error {
    Error::host("read from the terminal", io::Error::other(error))
}

impl Lines {
    pub fn open() -> Result<Self, Error> {
        if !io::stdin().is_terminal() {
            return Ok(Self::Script { number: 0 });
        }
        let config = Config::builder().auto_add_history(true).build();
        let mut editor = Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Words { names: Vec::new() }));
        Ok(Self::Terminal(Box::new(editor)))
    }

    pub fn at_a_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// The last line's number.
    pub fn number(&self) -> usize {
        match self {
            Self::Terminal(_) => 0,
            Self::Script { number } => *number,
        }
    }

    /// The next line; none at the end. Ctrl-C gives up the line that is being typed.
    pub fn next(&mut self, names: Vec<String>) -> Result<Option<String>, Error> {
        match self {
            Self::Terminal(editor) => {
                editor.set_helper(Some(Words { names }));
                match editor.readline("wskctl> ") {
                    Ok(line) => Ok(Some(line)),
                    Err(ReadlineError::Interrupted) => Ok(Some(String::new())),
                    Err(ReadlineError::Eof) => Ok(None),
                    Err(error) => Err(failed(error)),
                }
            }
            Self::Script { number } => {
                *number += 1;
                let mut line = String::new();
                match io::stdin().lock().read_line(&mut line) {
                    Ok(0) => Ok(None),
                    Ok(_) => Ok(Some(line)),
                    Err(error) => Err(Error::host("read standard input", error)),
                }
            }
        }
    }
}
