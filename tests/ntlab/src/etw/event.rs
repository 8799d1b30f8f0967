//! An event as a person or a test reads it.

use std::fmt;
use std::time::Duration;

/// A GUID, as it lies in memory.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Guid(pub [u8; 16]);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The first three groups are numbers, with their lowest byte first.
        const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        f.write_str("{")?;
        for (place, &index) in ORDER.iter().enumerate() {
            let dash = if matches!(place, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{:02x}", self.0[index])?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Text of any encoding.
    Text(String),
    /// A signed number.
    Signed(i64),
    /// An unsigned number.
    Unsigned(u64),
    /// A number that is meant to be read in hexadecimal: flags, addresses, an NTSTATUS.
    Hex(u64),
    /// A floating-point number.
    Float(f64),
    /// A truth value.
    Boolean(bool),
    /// A GUID.
    Guid(Guid),
    /// Bytes without a meaning that the event tells.
    Bytes(Vec<u8>),
    /// An array.
    List(Vec<Value>),
    /// A structure.
    Struct(Vec<Field>),
}

impl Value {
    /// The number that it is, if it is one.
    #[must_use]
    pub fn number(&self) -> Option<i128> {
        match *self {
            Self::Signed(value) => Some(value.into()),
            Self::Unsigned(value) | Self::Hex(value) => Some(value.into()),
            Self::Boolean(value) => Some(value.into()),
            _ => None,
        }
    }

    /// The text that it is, if it is text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Signed(value) => value.fmt(f),
            Self::Unsigned(value) => value.fmt(f),
            Self::Hex(value) => write!(f, "{value:#x}"),
            Self::Float(value) => value.fmt(f),
            Self::Boolean(value) => value.fmt(f),
            Self::Guid(value) => value.fmt(f),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Self::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Struct(fields) => {
                f.write_str("{")?;
                for (index, field) in fields.iter().enumerate() {
                    write!(f, "{}{field}", if index == 0 { "" } else { " " })?;
                }
                f.write_str("}")
            }
        }
    }
}

/// A field of an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub value: Value,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// An event that a driver has written.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When, since the machine was made.
    pub at: Duration,
    /// The provider's name; its GUID if it has told none.
    pub provider: String,
    /// The provider's GUID.
    pub provider_id: Guid,
    /// The event's name; its number if it is no `TraceLogging` event.
    pub name: String,
    /// 1 critical, 2 error, 3 warning, 4 information, 5 verbose; 0 always.
    pub level: u8,
    /// 0 information, 1 the start of an activity, 2 its end.
    pub opcode: u8,
    /// Its keywords.
    pub keyword: u64,
    /// The activity that it belongs to.
    pub activity: Option<Guid>,
    /// The activity that is behind that one.
    pub related: Option<Guid>,
    /// The IRQL at which it was written.
    pub irql: u8,
    /// Its fields, in their order. What could not be read is in a last one called `malformed`.
    pub fields: Vec<Field>,
}

impl Event {
    /// What the field called `name` holds.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|field| field.name == name).map(|field| &field.value)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:10.6} {} {}", self.at.as_secs_f64(), self.provider, self.name)?;
        self.fields.iter().try_for_each(|field| write!(f, " {field}"))
    }
}
