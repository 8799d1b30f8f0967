//! Where the shell's lines come from: a line editor at a terminal, standard input otherwise.

use super::words::{COMMANDS, candidates, command};
use crate::Error;
use rustyline::{
    Config, Context, Editor, Helper,
    completion::{Completer, Pair},
    error::ReadlineError,
    highlight::Highlighter,
    hint::Hinter,
    history::DefaultHistory,
    validate::Validator,
};
use std::{
    env,
    io::{self, BufRead, IsTerminal},
    path::PathBuf,
};

pub(super) enum Lines {
    Terminal { editor: Box<Editor<Words, DefaultHistory>>, history: Option<PathBuf> },
    Script { number: usize },
}

/// What can be completed: commands first on a line, and after one what it takes.
#[derive(Default)]
pub(super) struct Words {
    pub sockets: Vec<String>,
    pub jobs: Vec<String>,
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
        let first = before.get(..start).unwrap_or_default().split_whitespace().next();
        let words: Vec<String> = match first {
            None => COMMANDS.iter().map(|command| command.name.to_owned()).collect(),
            Some(name) => command(name).map(|of| candidates(of, &self.sockets, &self.jobs)).unwrap_or_default(),
        };
        // Whatever the letters' case: options are capitals.
        let fits = |candidate: &String| candidate.to_lowercase().starts_with(&word.to_lowercase());
        let pair = |word: String| Pair { replacement: format!("{word} "), display: word };
        Ok((start, words.into_iter().filter(fits).map(pair).collect()))
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
        let mut editor = Box::new(Editor::with_config(config).map_err(failed)?);
        let history = history();
        if let Some(path) = &history {
            // The first time there is none.
            let _ = editor.load_history(path);
        }
        Ok(Self::Terminal { editor, history })
    }

    pub fn at_a_terminal(&self) -> bool {
        matches!(self, Self::Terminal { .. })
    }

    /// The last line's number.
    pub fn number(&self) -> usize {
        match self {
            Self::Terminal { .. } => 0,
            Self::Script { number } => *number,
        }
    }

    /// The next line; none at the end. Ctrl-C gives up the line that is being typed.
    pub fn next(&mut self, words: Words) -> Result<Option<String>, Error> {
        match self {
            Self::Terminal { editor, .. } => {
                editor.set_helper(Some(words));
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

impl Drop for Lines {
    fn drop(&mut self) {
        if let Self::Terminal { editor, history: Some(path) } = self {
            // Where it can't be kept, the next shell begins without.
            let _ = editor.save_history(path);
        }
    }
}

/// Where lines are kept from one shell to the next: what `WSKCTL_HISTORY` names (nothing, if it is empty), or else a file of the
/// user's.
fn history() -> Option<PathBuf> {
    if let Some(path) = env::var_os("WSKCTL_HISTORY") {
        return Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty());
    }
    let home = env::var_os(if cfg!(windows) { "USERPROFILE" } else { "HOME" })?;
    Some(PathBuf::from(home).join(".wskctl_history"))
}
