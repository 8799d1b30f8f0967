//! The scenario file: what is sent to a driver, and what must come back.
//!
//! Its format is described in `tests/ntlab/README.md`.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use ntlab::{
    Machine, NtStatus,
    wsk::{Echo, Weather},
};
use serde::Deserialize;

/// A scenario file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Values of the service's `Parameters` key.
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
    /// The network in memory, instead of the host's loopback interface.
    pub network: Option<Network>,
    /// What is done, in order.
    #[serde(default, rename = "step")]
    pub steps: Vec<Step>,
}

/// The network in memory: what it does to what is sent, and who is there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    delay_us: u64,
    window: Option<usize>,
    loses_one_in: u32,
    reorders: bool,
    resets_one_in: u32,
    /// Where there is somebody who sends back what he gets.
    echo: Vec<SocketAddr>,
}

impl Network {
    /// Gives the machine this network. Those who send back do so as long as the result is there.
    pub fn make(&self, machine: &Machine) -> Result<Vec<Echo>> {
        let calm = Weather::default();
        let peers = machine.network().use_memory(Weather {
            delay: Duration::from_micros(self.delay_us),
            window: self.window.unwrap_or(calm.window),
            loses_one_in: self.loses_one_in,
            reorders: self.reorders,
            resets_one_in: self.resets_one_in,
        });
        let there = |address: &SocketAddr| peers.echo(*address).with_context(|| format!("an echo at {address}"));
        self.echo.iter().map(there).collect()
    }
}

/// A registry value.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "a number (REG_DWORD) or a text (REG_SZ)")]
pub enum Parameter {
    Number(u32),
    Text(String),
}

/// One step. Exactly one of the verbs is there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    // The verbs.
    open: Option<String>,
    ioctl: Option<Code>,
    read: Option<u32>,
    write: Option<Bytes>,
    wait: Option<String>,
    cancel: Option<String>,
    close: Option<String>,
    exit: Option<String>,
    sleep_ms: Option<u64>,
    repeat: Option<u32>,
    // What they work on.
    pub process: Option<String>,
    pub handle: Option<String>,
    pub request: Option<String>,
    input: Option<Bytes>,
    output_length: Option<u32>,
    output_buffer: Option<Bytes>,
    pub offset: i64,
    steps: Vec<Step>,
    pub timeout_ms: Option<u64>,
    // What must come back.
    status: Option<Status>,
    pub information: Option<usize>,
    output: Option<Bytes>,
    pub pending: Option<bool>,
}

/// A control code.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "a control code, or { device_type, function, method, access }")]
enum Code {
    Number(u32),
    Parts {
        device_type: u32,
        function: u32,
        #[serde(default)]
        method: Method,
        #[serde(default)]
        access: Access,
    },
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    #[default]
    Buffered,
    InDirect,
    OutDirect,
    Neither,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Access {
    #[default]
    Any,
    Read,
    Write,
    ReadWrite,
}

/// Data.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Bytes {
    Text(String),
    Utf16(String),
    Hex(String),
    Fill { byte: u8, length: usize },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "the name of a status, its number, or \"any\"")]
enum Status {
    Number(u32),
    Name(String),
}

/// What a step does.
pub enum Verb<'a> {
    Open { name: &'a str },
    Ioctl { code: u32, input: Vec<u8>, output: Vec<u8> },
    Read { length: u32 },
    Write { data: Vec<u8> },
    Wait { request: &'a str },
    Cancel { request: &'a str },
    Close { handle: &'a str },
    Exit { process: &'a str },
    Sleep { milliseconds: u64 },
    Repeat { times: u32, steps: &'a [Step] },
}

impl Scenario {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no scenario", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let scenario: Self = toml::from_str(text)?;
        check(&scenario.steps)?;
        Ok(scenario)
    }
}

/// Checks every step before the first one runs.
fn check(steps: &[Step]) -> Result<()> {
    for (index, step) in steps.iter().enumerate() {
        let checked = step.verb().and_then(|verb| {
            step.status()?;
            step.output()?;
            if let Verb::Repeat { steps, .. } = verb { check(steps) } else { Ok(()) }
        });
        checked.with_context(|| format!("step {}", index + 1))?;
    }
    Ok(())
}

impl Step {
    /// What the step does; an error unless it is exactly one thing.
    pub fn verb(&self) -> Result<Verb<'_>> {
        let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map_or_else(|| Ok(Vec::new()), Bytes::to_vec);
        let mut verbs = Vec::new();
        verbs.extend(self.open.as_deref().map(|name| Verb::Open { name }));
        if let Some(code) = self.ioctl {
            let mut output = bytes(&self.output_buffer)?;
            if let Some(length) = self.output_length {
                output.resize(length as usize, 0);
            }
            verbs.push(Verb::Ioctl { code: code.number(), input: bytes(&self.input)?, output });
        }
        verbs.extend(self.read.map(|length| Verb::Read { length }));
        if let Some(data) = &self.write {
            verbs.push(Verb::Write { data: data.to_vec()? });
        }
        verbs.extend(self.wait.as_deref().map(|request| Verb::Wait { request }));
        verbs.extend(self.cancel.as_deref().map(|request| Verb::Cancel { request }));
        verbs.extend(self.close.as_deref().map(|handle| Verb::Close { handle }));
        verbs.extend(self.exit.as_deref().map(|process| Verb::Exit { process }));
        verbs.extend(self.sleep_ms.map(|milliseconds| Verb::Sleep { milliseconds }));
        verbs.extend(self.repeat.map(|times| Verb::Repeat { times, steps: &self.steps }));
        ensure!(
            verbs.len() == 1,
            "a step is exactly one of open, ioctl, read, write, wait, cancel, close, exit, sleep_ms, repeat"
        );
        verbs.pop().context("there is one")
    }

    /// The status that must come back; none when any may.
    pub fn status(&self) -> Result<Option<NtStatus>> {
        Ok(match &self.status {
            None => Some(NtStatus::SUCCESS),
            Some(Status::Number(number)) => Some(NtStatus(number.cast_signed())),
            Some(Status::Name(name)) if name == "any" => None,
            Some(Status::Name(name)) => {
                Some(NtStatus::from_name(name).with_context(|| format!("{name}: give this status as a number"))?)
            }
        })
    }

    /// The output that must come back.
    pub fn output(&self) -> Result<Option<Vec<u8>>> {
        self.output.as_ref().map(Bytes::to_vec).transpose()
    }
}

impl Code {
    /// `CTL_CODE`.
    fn number(self) -> u32 {
        match self {
            Self::Number(number) => number,
            Self::Parts { device_type, function, method, access } => {
                device_type << 16 | (access as u32) << 14 | function << 2 | method as u32
            }
        }
    }
}

impl Bytes {
    fn to_vec(&self) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Utf16(text) => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Self::Fill { byte, length } => vec![*byte; *length],
            Self::Hex(digits) => {
                let digits: Vec<char> = digits.chars().filter(|c| !c.is_whitespace()).collect();
                let mut bytes = Vec::new();
                for pair in digits.chunks(2) {
                    let text: String = pair.iter().collect();
                    match u8::from_str_radix(&text, 16) {
                        Ok(byte) if pair.len() == 2 => bytes.push(byte),
                        _ => bail!("`{text}` is no pair of hexadecimal digits"),
                    }
                }
                bytes
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(text: &str) -> Result<Step> {
        let mut scenario = Scenario::parse(&format!("[[step]]\n{text}"))?;
        scenario.steps.pop().context("a step")
    }

    #[test]
    fn a_control_code_is_a_number_or_the_parts_of_ctl_code() -> Result<()> {
        let parts = "ioctl = { device_type = 0x8000, function = 0x801, method = \"out_direct\", access = \"read\" }";
        for text in ["ioctl = 0x80006006", parts] {
            assert!(matches!(step(text)?.verb()?, Verb::Ioctl { code: 0x8000_6006, .. }));
        }
        Ok(())
    }

    #[test]
    fn data_is_text_or_hexadecimal_or_a_fill() -> Result<()> {
        for text in ["{ text = \"AB\" }", "{ hex = \"41 42\" }", "{ utf16 = \"\u{4241}\" }"] {
            assert!(matches!(step(&format!("write = {text}"))?.verb()?, Verb::Write { data } if data == b"AB"));
        }
        assert!(step("write = { hex = \"4\" }").is_err());
        assert!(step("write = { hex = \"4x\" }").is_err());
        assert!(matches!(
            step("write = { fill = { byte = 7, length = 3 } }")?.verb()?,
            Verb::Write { data } if data == [7, 7, 7]
        ));
        Ok(())
    }

    #[test]
    fn a_step_is_one_thing_and_what_is_misspelt_is_refused() {
        assert!(step("read = 4\nsleep_ms = 1").is_err());
        assert!(step("information = 4").is_err());
        assert!(step("raed = 4").is_err());
        assert!(step("read = 4\nstatus = \"STATUS_WRONG\"").is_err());
        assert!(step("repeat = 2\nsteps = [{ raed = 4 }]").is_err());
    }

    #[test]
    fn a_status_is_a_name_or_a_number_and_success_if_none_is_given() -> Result<()> {
        assert_eq!(step("read = 4")?.status()?, Some(NtStatus::SUCCESS));
        assert_eq!(step("read = 4\nstatus = \"any\"")?.status()?, None);
        for text in ["\"STATUS_CANCELLED\"", "0xC0000120"] {
            assert_eq!(step(&format!("read = 4\nstatus = {text}"))?.status()?, Some(NtStatus::CANCELLED));
        }
        Ok(())
    }
}
