//! Values of a scenario: data, statuses, addresses.

use super::{
    fields::{Fields, Problems, integer, kind_of},
    problem::{Problem, suggestion},
};
use crate::{
    StatusText,
    abi::{Address, Guid, Linger, Namespace, NtStatus, SocketOption, WinsockVersion, WsaError},
    status::{NAMES, status_name},
};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};
use toml::{Spanned, de::DeValue};

/// Bytes to send, or to expect.
#[derive(Clone, PartialEq, Eq)]
pub struct Data(pub Vec<u8>);

impl fmt::Debug for Data {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", describe(&self.0))
    }
}

/// Bytes as a message shows them: short ones themselves, long ones by length and checksum.
pub fn describe(bytes: &[u8]) -> String {
    if bytes.len() <= 48 {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    format!("{} bytes with CRC-32 {:08x}", bytes.len(), crc32fast::hash(bytes))
}

impl Data {
    /// The data under a key: a string, or a table.
    pub fn read(fields: &mut Fields<'_>, key: &'static str) -> Option<Self> {
        let value = fields.value(key)?;
        let problems = fields.problems();
        if let Some(text) = value.get_ref().as_str() {
            return Some(Self(text.as_bytes().to_vec()));
        }
        if !value.get_ref().is_table() {
            let message = format!("`{key}` takes a string, or {{ hex }}, {{ byte, length }} or {{ pattern, length }}");
            problems.add(Problem::new(value.span(), message, kind_of(value.get_ref())));
            return None;
        }
        let table = fields.table(key, "a table")?;
        Self::in_table(Fields::new(table.value, table.span, problems))
    }

    fn in_table(mut fields: Fields<'_>) -> Option<Self> {
        let hex = fields.parsed("hex", "pairs of hexadecimal digits", bytes_of_hex);
        let byte: Option<u8> = fields.number("byte");
        let seed: Option<u32> = fields.number("pattern");
        let length: Option<u32> = fields.number("length");
        let data = match (hex, byte, seed, length) {
            (Some(bytes), None, None, None) => Some(bytes),
            (None, Some(byte), None, Some(length)) => Some(vec![byte; length as usize]),
            (None, None, Some(seed), Some(length)) => Some(pattern(seed, length as usize)),
            _ => {
                fields.missing("hex", "data is { hex }, { byte, length } or { pattern, length }");
                None
            }
        };
        fields.finish();
        data.map(Self)
    }
}

fn bytes_of_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|digit| !digit.is_whitespace()).collect();
    let pair = |pair: &[char]| {
        let text: String = pair.iter().collect();
        let byte = u8::from_str_radix(&text, 16).ok().filter(|_| pair.len() == 2);
        byte.ok_or_else(|| format!("`{text}` is no pair of hexadecimal digits"))
    };
    digits.chunks(2).map(pair).collect()
}

/// Bytes that no shift or repetition leaves unchanged (xorshift64*).
pub fn pattern(seed: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) << 1 | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes()
    });
    words.flatten().take(length).collect()
}

/// A status that a request may end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Exactly this NTSTATUS.
    Exactly(NtStatus),
    /// Any that reads as this Winsock error.
    Winsock(WsaError),
}

/// What a request may end with; nothing stands for whatever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(Vec<Status>);

impl Default for Statuses {
    fn default() -> Self {
        Self::success()
    }
}

impl Statuses {
    /// Success, which a step expects that names no status.
    pub fn success() -> Self {
        Self(vec![Status::Exactly(0)])
    }

    pub fn admits(&self, status: NtStatus) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|allowed| match *allowed {
                Status::Exactly(exactly) => exactly == status,
                Status::Winsock(error) => WsaError::from_status(status) == Some(error),
            })
    }

    /// The statuses under the key `status`.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let value = fields.value("status")?;
        let problems = fields.problems();
        let items: Vec<&Spanned<DeValue<'_>>> = match value.get_ref().as_array() {
            Some(items) => items.iter().collect(),
            None => vec![value],
        };
        if items.iter().any(|item| item.get_ref().as_str() == Some("any")) {
            return Some(Self(Vec::new()));
        }
        Some(Self(items.into_iter().filter_map(|item| Status::of(item, problems)).collect()))
    }
}

impl Status {
    fn of(value: &Spanned<DeValue<'_>>, problems: &Problems) -> Option<Self> {
        if let Some(number) = integer(value.get_ref()) {
            let status = u32::try_from(number).ok().map(u32::cast_signed).or_else(|| i32::try_from(number).ok());
            if status.is_none() {
                problems.add(Problem::new(value.span(), "this is no NTSTATUS", "it has more than 32 bits"));
            }
            return status.map(Self::Exactly);
        }
        let Some(name) = value.get_ref().as_str() else {
            let message =
                "`status` takes the name of a Winsock error or an NTSTATUS, a number, a list of them, or \"any\"";
            problems.add(Problem::new(value.span(), message, kind_of(value.get_ref())));
            return None;
        };
        let status = Self::named(name);
        if status.is_none() {
            let winsock = WsaError::ALL.iter().map(|error| error.name());
            let help = suggestion(name, winsock.chain(NAMES.iter().map(|&(_, name)| name)))
                .filter(|help| help.starts_with("did"))
                .or_else(|| Some("an NTSTATUS without a name here is given as a number, such as 0xC0000120".into()));
            problems.add(Problem::new(value.span(), format!("no status is called `{name}`"), "unknown").help(help));
        }
        status
    }

    fn named(name: &str) -> Option<Self> {
        let winsock = WsaError::ALL.iter().find(|error| error.name() == name).map(|&error| Self::Winsock(error));
        let by_name = NAMES.iter().find(|(_, known)| *known == name);
        winsock.or_else(|| by_name.map(|&(number, _)| Self::Exactly(number.cast_signed())))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        write!(formatter, "{}", if names.is_empty() { "any status".into() } else { names.join(" or ") })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Winsock(error) => write!(formatter, "{}", error.name()),
            Self::Exactly(status) => match status_name(status) {
                Some(name) => write!(formatter, "{name}"),
                None => write!(formatter, "{}", StatusText(status)),
            },
        }
    }
}

/// An option's value as a file has it: a number, `true` or `false`, or `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionWord {
    Number(u32),
    Off,
}

impl OptionWord {
    /// The value under a key.
    pub fn read(fields: &mut Fields<'_>, key: &'static str) -> Option<Self> {
        let value = fields.value(key)?;
        let number = integer(value.get_ref()).and_then(|number| u32::try_from(number).ok());
        let read = match (value.get_ref().as_str(), value.get_ref().as_bool(), number) {
            (Some("off"), ..) => Some(Self::Off),
            (_, Some(flag), _) => Some(Self::Number(flag.into())),
            (.., number) => number.map(Self::Number),
        };
        if read.is_none() {
            let message = format!("`{key}` takes a number of 32 bits, true or false, or \"off\"");
            fields.problems().add(Problem::new(value.span(), message, kind_of(value.get_ref())));
        }
        read
    }

    /// The option's bits: of `SO_LINGER`, a number is of seconds.
    pub fn bits(self, option: SocketOption) -> Result<u32, String> {
        match (option, self) {
            (_, Self::Off) => Ok(0),
            (SocketOption::Linger, Self::Number(seconds)) => {
                let l_linger = u16::try_from(seconds).map_err(|_| "SO_LINGER takes up to 65535 seconds".to_owned())?;
                Ok(zerocopy::transmute!(Linger { l_onoff: 1, l_linger }))
            }
            (_, Self::Number(number)) => Ok(number),
        }
    }

    /// What an option's bits say.
    pub fn of(option: SocketOption, bits: u32) -> Self {
        match (option, zerocopy::transmute!(bits)) {
            (SocketOption::Linger, Linger { l_onoff: 0, .. }) => Self::Off,
            (SocketOption::Linger, Linger { l_linger, .. }) => Self::Number(l_linger.into()),
            _ => Self::Number(bits),
        }
    }
}

impl fmt::Display for OptionWord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Off => write!(formatter, "off"),
        }
    }
}

/// `2.2`
pub fn version(text: &str) -> Result<WinsockVersion, String> {
    let parts = text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let (major, minor) = parts.ok_or_else(|| format!("`{text}` is no version such as 2.2"))?;
    Ok(WinsockVersion::new(major, minor))
}

/// `dns`, `numeric`, `{22059D40-7E9E-11CF-AE5A-00AA00A7112B}`
pub fn guid(text: &str) -> Result<Guid, String> {
    let digits = text.trim_start_matches('{').trim_end_matches('}').replace('-', "");
    match text {
        "dns" => Ok(Namespace::Dns.guid()),
        "numeric" => Ok(Namespace::Numeric.guid()),
        _ if digits.len() == 32 => {
            u128::from_str_radix(&digits, 16).map(Guid::new).map_err(|_| format!("`{text}` is no GUID"))
        }
        _ => Err(format!("`{text}` is neither `dns` nor `numeric` nor a GUID")),
    }
}

/// `127.0.0.1:80`, `[::1]:80`
pub fn address(text: &str) -> Result<Address, String> {
    let parsed: Result<SocketAddr, _> = text.parse();
    parsed.map(Address::from).map_err(|_| format!("`{text}` is no address such as 127.0.0.1:80 or [::1]:80"))
}

/// The addresses that a list names, in the order of their text; one without a port has port 0.
pub fn addresses(fields: &mut Fields<'_>, key: &'static str) -> Option<Vec<Address>> {
    let mut found = Vec::new();
    for text in fields.texts(key)? {
        let without = text.value.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0).into());
        match without.or_else(|_| address(&text.value)) {
            Ok(address) => found.push(address),
            Err(why) => {
                fields.problems().add(Problem::new(text.span, why, "no address"));
                return None;
            }
        }
    }
    Some(in_order(found))
}

/// Addresses, in the order of their text: a look-up gives them in any.
pub fn in_order(mut addresses: Vec<Address>) -> Vec<Address> {
    addresses.sort_by_key(|address| format!("{address:?}"));
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_winsock_name_admits_every_status_that_reads_as_it() {
        let statuses = Statuses(vec![Status::named("WSAECONNRESET").unwrap()]);
        assert!(statuses.admits(0xC000_020D_u32.cast_signed()) && statuses.admits(0xC000_020C_u32.cast_signed()));
        assert!(!statuses.admits(0));
        let exactly = Statuses(vec![Status::named("STATUS_CONNECTION_RESET").unwrap()]);
        assert!(!exactly.admits(0xC000_020C_u32.cast_signed()));
        assert_eq!(exactly.to_string(), "STATUS_CONNECTION_RESET");
    }

    #[test]
    fn a_lingers_value_is_seconds_and_others_are_themselves() {
        for word in [OptionWord::Off, OptionWord::Number(0), OptionWord::Number(5)] {
            assert_eq!(OptionWord::of(SocketOption::Linger, word.bits(SocketOption::Linger).unwrap()), word);
        }
        assert!(OptionWord::Number(65_536).bits(SocketOption::Linger).is_err());
        assert_eq!(OptionWord::Number(65_536).bits(SocketOption::SendBuffer), Ok(65_536));
        assert_eq!(OptionWord::of(SocketOption::SendBuffer, 65_536).to_string(), "65536");
    }

    #[test]
    fn data_shows_itself_when_short_and_its_checksum_when_long() {
        assert_eq!(describe(b"hi\n"), r#""hi\n""#);
        assert_eq!(describe(&[0; 1000]), "1000 bytes with CRC-32 060b1780");
        assert_eq!(bytes_of_hex("00 fF").unwrap(), [0, 0xFF]);
        assert!(bytes_of_hex("0").is_err() && bytes_of_hex("0x").is_err());
    }
}
