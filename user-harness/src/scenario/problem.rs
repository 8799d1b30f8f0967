//! What is wrong with a scenario file, and where: shown with line, column and an excerpt.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::{ops::Range, path::Path};

/// One thing that is wrong, at its place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// Which bytes of the file.
    pub span: Range<usize>,
    /// What to say at that place.
    pub label: String,
    /// What to try.
    pub help: Option<String>,
}

impl Problem {
    /// Something wrong at `span`.
    pub fn new(span: Range<usize>, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { message: message.into(), span, label: label.into(), help: None }
    }

    /// With something to try.
    #[must_use]
    pub fn help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    /// As a person reads it, with ANSI styles.
    #[must_use]
    pub fn text(&self, source: &Source) -> String {
        let end = self.span.end.min(source.text.len());
        let start = self.span.start.min(end);
        let annotation = AnnotationKind::Primary.span(start..end).label(&*self.label);
        let snippet = Snippet::source(&*source.text).path(&*source.name).annotation(annotation);
        let mut report = vec![Level::ERROR.primary_title(&*self.message).element(snippet)];
        if let Some(help) = &self.help {
            report.push(annotate_snippets::Group::with_title(Level::HELP.secondary_title(&**help)));
        }
        Renderer::styled().render(&report)
    }
}

/// A scenario file's text, and what to call it.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Its path, as it was given.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Its file's name, without folder and extension.
    #[must_use]
    pub fn stem(&self) -> &str {
        Path::new(&self.name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(&self.name)
    }

    /// Line and column of a byte, from 1; columns count characters.
    #[must_use]
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.text.get(..byte).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }
}

/// The one of `known` that somebody meant who wrote `word`, as a sentence.
pub fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<_> = known.into_iter().collect();
    let near = known.iter().map(|&candidate| (strsim::damerau_levenshtein(word, candidate), candidate)).min();
    match near {
        Some((distance, candidate)) if distance <= 1 + word.chars().count() / 3 => {
            Some(format!("did you mean `{candidate}`?"))
        }
        _ if known.is_empty() => None,
        _ => Some(format!("there is {}", listed(&known))),
    }
}

/// `a`, `b` and `c`.
pub fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => "nothing".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_otherwise_all_are_listed() {
        assert_eq!(suggestion("recieve", ["send", "receive"]).unwrap(), "did you mean `receive`?");
        assert_eq!(suggestion("x", ["send", "receive", "close"]).unwrap(), "there is `send`, `receive` and `close`");
        assert_eq!(suggestion("x", []), None);
    }

    #[test]
    fn a_problem_reads_with_line_column_excerpt_and_help() {
        let source = Source { name: "x.toml".into(), text: "one = 1\ntwö = 2\nfoo = 3\n".into() };
        let problem = Problem::new(17..20, "unknown key", "here").help(Some("did you mean `for`?".into()));
        let text = anstream::adapter::strip_str(&problem.text(&source)).to_string();
        assert!(text.contains("--> x.toml:3:1"), "{text}");
        assert!(text.contains("3 | foo = 3"), "{text}");
        assert!(text.contains("did you mean `for`?"), "{text}");
        assert_eq!(source.position(12), (2, 4));
    }
}
