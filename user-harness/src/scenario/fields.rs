//! Reading a table of the file field by field. Whatever was not asked for at the end is an unknown key, and what was asked for is
//! what could have been meant.

use super::problem::{Problem, suggestion};
use std::{cell::RefCell, fmt::Display, ops::Range, time::Duration};
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

/// The longest time that a file may name.
const LONGEST: Duration = Duration::from_hours(24);

/// Problems found so far.
#[derive(Default)]
pub struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub fn add(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    /// In the order of the file.
    pub fn into_sorted(self) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        problems.sort_by_key(|problem| problem.span.start);
        problems
    }
}

/// Something of the file, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    pub value: T,
    pub span: Range<usize>,
}

impl<T> At<T> {
    pub fn new(value: T, span: Range<usize>) -> Self {
        Self { value, span }
    }
}

/// A table that is being read.
pub struct Fields<'a> {
    table: &'a DeTable<'a>,
    /// The table's own place.
    pub span: Range<usize>,
    asked: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a> Fields<'a> {
    pub fn new(table: &'a DeTable<'a>, span: Range<usize>, problems: &'a Problems) -> Self {
        Self { table, span, asked: Vec::new(), problems }
    }

    pub fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// The keys that are there, with their places.
    pub fn keys(&self) -> impl Iterator<Item = At<&'a str>> {
        self.table.keys().map(|key| At::new(&**key.get_ref(), key.span()))
    }

    fn wrong(&self, span: Range<usize>, message: impl Into<String>, label: impl Into<String>) {
        self.problems.add(Problem::new(span, message, label));
    }

    /// The value of a key, if it is there.
    pub fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table.get(key)
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Result<T, Option<String>>,
    ) -> Option<At<T>> {
        let value = self.value(key)?;
        match read(value.get_ref()) {
            Ok(read) => Some(At::new(read, value.span())),
            Err(why) => {
                let why = why.unwrap_or_else(|| kind_of(value.get_ref()));
                self.wrong(value.span(), format!("`{key}` takes {wanted}"), why);
                None
            }
        }
    }

    pub fn text(&mut self, key: &'static str) -> Option<At<String>> {
        self.typed(key, "a string", |value| value.as_str().map(str::to_owned).ok_or(None))
    }

    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", |value| value.as_bool().ok_or(None)).map(|flag| flag.value)
    }

    /// A number that fits `T`.
    pub fn number<T: TryFrom<i64>>(&mut self, key: &'static str) -> Option<T> {
        self.typed(key, "a number", |value| {
            let number = integer(value).ok_or(None)?;
            T::try_from(number).map_err(|_| Some("this is out of range".into()))
        })
        .map(|number| number.value)
    }

    /// A time: `"250ms"`, `"5s"`.
    pub fn time(&mut self, key: &'static str) -> Option<Duration> {
        self.typed(key, "a time such as \"250ms\" or \"5s\"", |value| {
            let text = value.as_str().ok_or(None)?;
            let time = humantime::parse_duration(text).map_err(|error| Some(error.to_string()))?;
            if time <= LONGEST { Ok(time) } else { Err(Some("this is more than a day".into())) }
        })
        .map(|time| time.value)
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text.value).map(|&(_, value)| value);
        if found.is_none() {
            let help = suggestion(&text.value, words.iter().map(|&(word, _)| word));
            let message = format!("`{key}` can't be `{}`", text.value);
            self.problems.add(Problem::new(text.span, message, "unknown").help(help));
        }
        found
    }

    /// Bits, by the list of their names.
    pub fn mask(&mut self, key: &'static str, bits: &[(&str, u32)]) -> Option<u32> {
        let mut mask = 0;
        for word in self.texts(key)? {
            let Some((_, bit)) = bits.iter().find(|(name, _)| *name == word.value) else {
                let help = suggestion(&word.value, bits.iter().map(|(name, _)| *name));
                let message = format!("`{key}` can't be `{}`", word.value);
                self.problems.add(Problem::new(word.span, message, "unknown").help(help));
                return None;
            };
            mask |= bit;
        }
        Some(mask)
    }

    /// A text that has to be read further.
    pub fn parsed<T, E: Display>(
        &mut self,
        key: &'static str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.typed(key, wanted, |value| {
            let text = value.as_str().ok_or(None)?;
            parse(text).map_err(|error| Some(error.to_string()))
        })
        .map(|value| value.value)
    }

    /// A list of strings; one string is a list of one.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<At<String>>> {
        let value = self.value(key)?;
        if let Some(text) = value.get_ref().as_str() {
            return Some(vec![At::new(text.to_owned(), value.span())]);
        }
        let items = self.array(key, "a list of strings")?;
        let texts = items.iter().filter_map(|item| {
            let text = item.get_ref().as_str().map(|text| At::new(text.to_owned(), item.span()));
            if text.is_none() {
                self.wrong(item.span(), format!("`{key}` takes a list of strings"), "this is no string");
            }
            text
        });
        Some(texts.collect())
    }

    pub fn array(&mut self, key: &'static str, wanted: &str) -> Option<&'a DeArray<'a>> {
        self.typed(key, wanted, |value| value.as_array().ok_or(None)).map(|array| array.value)
    }

    pub fn table(&mut self, key: &'static str, wanted: &str) -> Option<At<&'a DeTable<'a>>> {
        self.typed(key, wanted, |value| value.as_table().ok_or(None))
    }

    /// A key that must be there is not.
    pub fn missing(&self, key: &str, why: &str) {
        self.wrong(self.span.clone(), format!("`{key}` is missing"), why);
    }

    /// Every key that nobody asked for is a problem.
    pub fn finish(self) {
        for key in self.keys() {
            if !self.asked.contains(&key.value) {
                let help = suggestion(key.value, self.asked.iter().copied());
                let message = format!("there is no `{}` here", key.value);
                self.problems.add(Problem::new(key.span, message, "unknown key").help(help));
            }
        }
    }
}

/// What a value is, for a message.
pub fn kind_of(value: &DeValue<'_>) -> String {
    let kind = match value.type_str() {
        "integer" => "a number",
        "string" => "a string",
        "array" => "a list",
        "table" => "a table",
        "boolean" => "true or false",
        other => other,
    };
    format!("this is {kind}")
}

/// The number that a value is.
pub fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
