//! The topics of `wskctl help` that are no command.

/// A topic's name and its text.
pub(crate) const TOPICS: &[(&str, &str)] =
    &[("json", include_str!("help/json.txt")), ("exit-codes", include_str!("help/exit-codes.txt"))];
