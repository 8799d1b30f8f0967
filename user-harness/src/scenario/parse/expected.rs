//! What must come back, of what can.

use super::{
    super::{
        fields::Fields,
        step::Expected,
        value::{self, Data, OptionWord, Statuses},
    },
    Reader,
};
use crate::{abi::WsaError, words::EVENTS};

impl Reader {
    /// Reads those of the answers that the file names. One that can't come is an unknown key to whoever finishes the fields.
    pub(super) fn expected(&self, fields: &mut Fields<'_>, answers: &[&'static str]) -> Expected {
        let mut expected = Expected::default();
        for &answer in answers {
            match answer {
                "status" => expected.statuses = Statuses::read(fields).unwrap_or_else(Statuses::success),
                "bytes" => expected.bytes = fields.number("bytes"),
                "data" => expected.data = Data::read(fields, "data"),
                "negotiated" => expected.negotiated = fields.parsed("negotiated", "a version", value::version),
                "references" => expected.references = fields.number("references"),
                "is" => expected.is = self.target(fields, "is"),
                "from" => expected.from = self.target(fields, "from"),
                "truncated" => expected.truncated = fields.flag("truncated"),
                "value" => expected.value = OptionWord::read(fields, "value"),
                "told" => expected.told = fields.mask("told", &EVENTS),
                "code" => expected.code = fields.parsed("code", "the name of a Winsock error", code),
                "addresses" => expected.addresses = value::addresses(fields, "addresses"),
                "name" => expected.name = fields.text("name").map(|name| name.value),
                "service" => expected.service = fields.text("service").map(|service| service.value),
                _ => {}
            }
        }
        expected
    }
}

fn code(text: &str) -> Result<WsaError, String> {
    let found = WsaError::ALL.iter().find(|error| error.name() == text).copied();
    found.ok_or_else(|| format!("no Winsock error is called `{text}`"))
}
