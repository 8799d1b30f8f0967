//! The metadata of `TraceLogging`: what a provider and its events say about themselves.
//!
//! One idea: a reader that takes bytes from the front and has none left says so; nothing is believed about a length.
//!
//! Source: `TraceLoggingProvider.h` of the Windows SDK, the comments on `_TlgProviderMetadata_t` and `_TlgEventMetadata_t`; the
//! `tracelogging` crate, `InType` and `OutType`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::event::{Field, Guid, Value};

/// There are fewer bytes than the metadata say, or the metadata mean nothing.
struct Malformed;

type Read<T> = Result<T, Malformed>;

/// Bytes that are taken from the front.
#[derive(Clone)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn byte(&mut self) -> Read<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn short(&mut self) -> Read<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn counted(&mut self) -> Read<&'a [u8]> {
        let count = self.short()?;
        self.take(count.into())
    }

    /// UTF-8 up to a zero.
    fn name(&mut self) -> Read<String> {
        let length = self.0.iter().position(|&byte| byte == 0).ok_or(Malformed)?;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.byte()?;
        Ok(text)
    }

    /// UTF-16 up to a zero.
    fn wide_name(&mut self) -> Read<String> {
        let mut units = Vec::new();
        loop {
            match self.short()? {
                0 => return Ok(String::from_utf16_lossy(&units)),
                unit => units.push(unit),
            }
        }
    }

    /// Seven bits a byte, as long as the highest is set.
    fn skip_chain(&mut self) -> Read<()> {
        while self.byte()? & CHAIN != 0 {}
        Ok(())
    }

    /// The block that begins with its own size.
    fn block(bytes: &'a [u8]) -> Read<Self> {
        let mut all = Self(bytes);
        let size = usize::from(all.short()?);
        let mut inside = Self(bytes.get(..size).ok_or(Malformed)?);
        inside.short()?;
        Ok(inside)
    }
}

/// There is more of it.
const CHAIN: u8 = 0x80;
const TYPE: u8 = 0x1f;
const COUNT: u8 = 0x60;
const CONSTANT_COUNT: u8 = 0x20;
const VARIABLE_COUNT: u8 = 0x40;
const STRUCT: u8 = 24;
/// `MAX_EVENT_DATA_DESCRIPTORS`, and deeper than anybody nests.
const MOST_FIELDS: usize = 128;

/// Output types.
mod out {
    pub const BOOLEAN: u8 = 3;
    pub const HEX: u8 = 4;
    pub const PORT: u8 = 7;
    pub const IPV4: u8 = 8;
    pub const IPV6: u8 = 9;
    pub const WIN32_ERROR: u8 = 13;
    pub const NTSTATUS: u8 = 14;
    pub const HRESULT: u8 = 15;
    pub const CODE_POINTER: u8 = 37;
}

/// What the metadata say of one field.
struct Description {
    name: String,
    kind: u8,
    out: u8,
    count: Count,
}

#[derive(Clone, Copy)]
enum Count {
    One,
    Constant(u16),
    Variable,
    Custom,
}

impl Description {
    fn read(bytes: &mut Bytes<'_>) -> Read<Self> {
        let name = bytes.name()?;
        let first = bytes.byte()?;
        let mut out = 0;
        if first & CHAIN != 0 {
            let second = bytes.byte()?;
            out = second & !CHAIN;
            if second & CHAIN != 0 {
                bytes.skip_chain()?;
            }
        }
        let count = match first & COUNT {
            0 => Count::One,
            CONSTANT_COUNT => Count::Constant(bytes.short()?),
            VARIABLE_COUNT => Count::Variable,
            _ => {
                bytes.counted()?; // what only the provider's own tools know
                Count::Custom
            }
        };
        Ok(Self { name, kind: first & TYPE, out, count })
    }
}

/// The name in a provider's metadata or traits.
pub fn provider_name(metadata: &[u8]) -> Option<String> {
    Bytes::block(metadata).and_then(|mut bytes| bytes.name()).ok()
}

/// The name and the fields of an event.
pub fn read(metadata: &[u8], data: &[u8]) -> (String, Vec<Field>) {
    let mut fields = Vec::new();
    let mut values = Bytes(data);
    let mut name = String::new();
    let whole = Bytes::block(metadata).and_then(|mut descriptions| {
        descriptions.skip_chain()?;
        name = descriptions.name()?;
        while !descriptions.0.is_empty() {
            fields.push(field(&mut descriptions, &mut values, 0)?);
        }
        if values.0.is_empty() { Ok(()) } else { Err(Malformed) }
    });
    if whole.is_err() {
        fields.push(Field { name: "malformed".into(), value: Value::Bytes(values.0.to_vec()) });
    }
    (name, fields)
}

fn field(descriptions: &mut Bytes<'_>, values: &mut Bytes<'_>, depth: usize) -> Read<Field> {
    let description = Description::read(descriptions)?;
    let count = match description.count {
        Count::One => None,
        Count::Constant(count) => Some(count),
        Count::Variable => Some(values.short()?),
        Count::Custom => {
            let bytes = values.counted()?.to_vec();
            return Ok(Field { name: description.name, value: Value::Bytes(bytes) });
        }
    };
    let value = if description.kind == STRUCT {
        structs(descriptions, values, description.out.into(), count, depth + 1)?
    } else if let Some(count) = count {
        Value::List((0..count).map(|_| value(&description, values)).collect::<Read<_>>()?)
    } else {
        value(&description, values)?
    };
    Ok(Field { name: description.name, value })
}

/// A structure of `length` fields, or `count` of them.
fn structs(
    descriptions: &mut Bytes<'_>,
    values: &mut Bytes<'_>,
    length: usize,
    count: Option<u16>,
    depth: usize,
) -> Read<Value> {
    if depth > MOST_FIELDS {
        return Err(Malformed);
    }
    let start = descriptions.clone();
    let mut one = |descriptions: &mut Bytes<'_>| {
        let fields = (0..length).map(|_| field(descriptions, values, depth)).collect::<Read<_>>()?;
        Ok(Value::Struct(fields))
    };
    let Some(count) = count else {
        return one(descriptions);
    };
    let mut list = Vec::new();
    for _ in 0..count {
        *descriptions = start.clone();
        list.push(one(descriptions)?);
    }
    if count == 0 {
        skip(descriptions, length, depth)?;
    }
    Ok(Value::List(list))
}

/// Passes over the descriptions of a structure that is not there.
fn skip(descriptions: &mut Bytes<'_>, length: usize, depth: usize) -> Read<()> {
    if depth > MOST_FIELDS {
        return Err(Malformed);
    }
    for _ in 0..length {
        let description = Description::read(descriptions)?;
        if description.kind == STRUCT {
            skip(descriptions, description.out.into(), depth + 1)?;
        }
    }
    Ok(())
}

fn value(description: &Description, values: &mut Bytes<'_>) -> Read<Value> {
    let out = description.out;
    Ok(match description.kind {
        1 => Value::Text(values.wide_name()?),
        2 => Value::Text(values.name()?),
        3 => signed(i8::from_le_bytes(values.array()?).into(), out, 1),
        4 => unsigned(u8::from_le_bytes(values.array()?).into(), out),
        5 => signed(i16::from_le_bytes(values.array()?).into(), out, 2),
        6 if out == out::PORT => Value::Unsigned(u16::from_be_bytes(values.array()?).into()),
        6 => unsigned(u16::from_le_bytes(values.array()?).into(), out),
        7 => signed(i32::from_le_bytes(values.array()?).into(), out, 4),
        8 if out == out::IPV4 => Value::Text(Ipv4Addr::from(values.array::<4>()?).to_string()),
        8 => unsigned(u32::from_le_bytes(values.array()?).into(), out),
        9 => signed(i64::from_le_bytes(values.array()?), out, 8),
        10 => unsigned(u64::from_le_bytes(values.array()?), out),
        11 => Value::Float(f32::from_le_bytes(values.array()?).into()),
        12 => Value::Float(f64::from_le_bytes(values.array()?)),
        13 => Value::Boolean(u32::from_le_bytes(values.array()?) != 0),
        14 | 25 => bytes(values.counted()?, out),
        15 => Value::Guid(Guid(values.array()?)),
        16 | 21 => Value::Hex(u64::from_le_bytes(values.array()?)), // 16 is as large as a pointer
        17 => Value::Unsigned(u64::from_le_bytes(values.array()?)), // FILETIME
        18 => Value::Bytes(values.take(16)?.to_vec()),              // SYSTEMTIME
        19 => sid(values)?,
        20 => Value::Hex(u32::from_le_bytes(values.array()?).into()),
        22 => {
            let units: Vec<_> =
                values.counted()?.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
            Value::Text(String::from_utf16_lossy(&units))
        }
        23 => Value::Text(String::from_utf8_lossy(values.counted()?).into_owned()),
        _ => return Err(Malformed),
    })
}

/// A number of `size` bytes.
fn signed(value: i64, out: u8, size: u32) -> Value {
    match out {
        out::HEX | out::WIN32_ERROR | out::NTSTATUS | out::HRESULT => {
            Value::Hex(value.cast_unsigned() & (u64::MAX >> (64 - 8 * size)))
        }
        _ => Value::Signed(value),
    }
}

fn unsigned(value: u64, out: u8) -> Value {
    match out {
        out::BOOLEAN => Value::Boolean(value != 0),
        out::HEX | out::WIN32_ERROR | out::NTSTATUS | out::HRESULT | out::CODE_POINTER => Value::Hex(value),
        _ => Value::Unsigned(value),
    }
}

fn bytes(bytes: &[u8], out: u8) -> Value {
    match <[u8; 16]>::try_from(bytes) {
        Ok(address) if out == out::IPV6 => Value::Text(Ipv6Addr::from(address).to_string()),
        _ => Value::Bytes(bytes.to_vec()),
    }
}

/// A SID is as long as its second byte says.
fn sid(values: &mut Bytes<'_>) -> Read<Value> {
    let mut head = values.clone();
    head.byte()?;
    let count = head.byte()?;
    Ok(Value::Bytes(values.take(8 + 4 * usize::from(count))?.to_vec()))
}
