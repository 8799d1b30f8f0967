//! Figures of the ledger, by the names that `wskctl --format json status` gives them. Where that tells a client's figure from the
//! driver's, a path that names neither means the client's.

use super::problem::suggestion;
use crate::{abi::Ledger, commands::ledger_json};
use serde_json::Value;
use zerocopy::FromZeros;

/// The figure at a path, or whatever else is there.
pub fn look_up<'a>(ledger: &'a Value, path: &[String]) -> Result<&'a Value, &'a Value> {
    let mut value = ledger;
    for key in path {
        value = value.get(key).or_else(|| value.get("client")?.get(key)).ok_or(value)?;
    }
    Ok(value.get("client").filter(|client| !client.is_object()).unwrap_or(value))
}

/// What could have been meant by a path that leads nowhere.
pub struct Unknown {
    pub help: Option<String>,
}

/// Whether a path leads nowhere.
pub fn unknown(path: &[String]) -> Option<Unknown> {
    let sample = ledger_json(&Ledger::new_zeroed());
    let at = look_up(&sample, path).err()?;
    let key = path.last().map(String::as_str).unwrap_or_default();
    let keys = at.as_object().into_iter().flat_map(|object| object.keys().map(String::as_str));
    let client = at.get("client").and_then(Value::as_object);
    let of_client = client.into_iter().flat_map(|object| object.keys().map(String::as_str));
    Some(Unknown { help: suggestion(key, keys.chain(of_client)) })
}

/// Whether a path leads to one figure.
pub fn is_figure(path: &[String]) -> bool {
    look_up(&ledger_json(&Ledger::new_zeroed()), path).is_ok_and(|value| !value.is_object())
}

/// What a path takes, for a message.
pub fn takes(path: &[String]) -> &'static str {
    match look_up(&ledger_json(&Ledger::new_zeroed()), path) {
        Ok(Value::Bool(_)) => "true or false",
        Ok(Value::Object(_)) => "a table of figures",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn a_path_that_names_neither_means_the_clients_figure() {
        let mut ledger = Ledger::new_zeroed();
        (ledger.references[0], ledger.driver_references[0]) = (2, 3);
        let value = ledger_json(&ledger);
        assert_eq!(look_up(&value, &path("references.application")), Ok(&2.into()));
        assert_eq!(look_up(&value, &path("references.application.driver")), Ok(&3.into()));
        assert_eq!(look_up(&value, &path("requests.receive.pending")), Ok(&0.into()));
        assert_eq!(look_up(&value, &path("registered")), Ok(&false.into()));
    }

    #[test]
    fn a_figure_that_the_ledger_has_not_is_told_with_what_was_meant() {
        assert_eq!(unknown(&path("references.aplication")).unwrap().help.unwrap(), "did you mean `application`?");
        assert_eq!(unknown(&path("requests.receive.pendign")).unwrap().help.unwrap(), "did you mean `pending`?");
        assert!(unknown(&path("sockets.open")).is_none());
        assert!(is_figure(&path("sockets.open")) && !is_figure(&path("sockets")));
    }
}
