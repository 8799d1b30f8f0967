//! What an event says about itself, made at compile time in `TraceLogging`'s format.

/// An event of the provider.
pub struct Event {
    /// 2 error, 3 warning, 4 information, 5 verbose.
    pub level: u8,
    /// What it is about.
    pub keyword: u64,
    /// Its size, name and fields.
    pub metadata: &'static [u8],
}

/// A field's value, in the order of the event's fields.
pub enum Field {
    /// A number.
    Number(u32),
    /// An NTSTATUS.
    Status(u32),
    /// A number of 64 bits, to be read in hexadecimal.
    Wide(u64),
    /// ASCII.
    Text(&'static str),
}

/// What a field is, as the metadata say.
#[derive(Clone, Copy)]
pub enum Type {
    /// [`Field::Number`].
    Number,
    /// [`Field::Number`], to be read in hexadecimal.
    Hex,
    /// [`Field::Status`].
    Status,
    /// [`Field::Wide`].
    Wide,
    /// [`Field::Text`].
    Text,
}

impl Type {
    /// `TlgIn...`, and `TlgOut...` if it is not the usual one.
    const fn codes(self) -> (u8, Option<u8>) {
        const MORE: u8 = 0x80;
        match self {
            Self::Number => (8, None),
            Self::Hex => (20, None),
            Self::Status => (7 | MORE, Some(14)),
            Self::Wide => (21, None),
            Self::Text => (23, None),
        }
    }
}

/// The length of an event's metadata: two bytes of size, one of tags, the name, and each field's name and type.
pub const fn length(name: &str, fields: &[(&str, Type)]) -> usize {
    let (mut sum, mut index) = (3 + name.len() + 1, 0);
    while index < fields.len() {
        let (name, kind) = fields[index];
        sum += name.len() + 1 + if kind.codes().1.is_some() { 2 } else { 1 };
        index += 1;
    }
    sum
}

/// An event's metadata.
pub const fn metadata<const LENGTH: usize>(name: &str, fields: &[(&str, Type)]) -> [u8; LENGTH] {
    assert!(LENGTH < 1 << 15, "the size has 16 bits");
    let mut bytes = [0; LENGTH];
    bytes[0] = LENGTH.to_le_bytes()[0];
    bytes[1] = LENGTH.to_le_bytes()[1];
    let (mut at, mut index) = (put(&mut bytes, 3, name), 0);
    while index < fields.len() {
        let (name, kind) = fields[index];
        at = put(&mut bytes, at, name);
        let (code, more) = kind.codes();
        bytes[at] = code;
        at += 1;
        if let Some(more) = more {
            bytes[at] = more;
            at += 1;
        }
        index += 1;
    }
    bytes
}

/// Writes a text and a zero at `at`, and returns where they end.
const fn put(bytes: &mut [u8], at: usize, text: &str) -> usize {
    let mut index = 0;
    while index < text.len() {
        bytes[at + index] = text.as_bytes()[index];
        index += 1;
    }
    at + text.len() + 1
}

/// Declares events: name, what it is called, level, keyword, fields.
macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $level:expr, $keyword:expr, [$($field:literal: $kind:ident),*];)*) => {$(
        $(#[$doc])*
        static $name: Event = {
            const FIELDS: &[(&str, Type)] = &[$(($field, Type::$kind)),*];
            static METADATA: [u8; length($text, FIELDS)] = metadata($text, FIELDS);
            Event { level: $level, keyword: $keyword, metadata: &METADATA }
        };
    )*};
}
pub(super) use events;
