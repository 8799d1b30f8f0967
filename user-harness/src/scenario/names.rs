//! The names that a file gives: each must be given before it is used, and used for what it names.

use super::{
    fields::At,
    problem::{Problem, suggestion},
};
use std::collections::BTreeMap;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Client,
    Socket,
    PeerListener,
    Peer,
    PeerSocket,
    /// Something in the background, and not waited for yet.
    Background,
}

impl What {
    fn text(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Socket => "socket",
            Self::PeerListener => "peer's listener",
            Self::Peer => "peer's connection",
            Self::PeerSocket => "peer's socket for datagrams",
            Self::Background => "step in the background",
        }
    }
}

#[derive(Default)]
pub struct Names(BTreeMap<String, What>);

impl Names {
    /// Gives a name. One that is given again stands for the newer thing.
    pub fn give(&mut self, name: &str, what: What) {
        self.0.insert(name.to_owned(), what);
    }

    /// The name must stand for one of these.
    pub fn check(&self, name: &At<String>, allowed: &[What]) -> Result<(), Problem> {
        let known = || {
            let fitting = self.0.iter().filter(|(_, what)| allowed.contains(what));
            fitting.map(|(name, _)| name.as_str())
        };
        let wanted = allowed.iter().map(|what| what.text()).collect::<Vec<_>>().join(" or ");
        match self.0.get(&name.value) {
            Some(what) if allowed.contains(what) => Ok(()),
            Some(what) => {
                let message = format!("`{}` is a {}, and a {wanted} is wanted", name.value, what.text());
                Err(Problem::new(name.span.clone(), message, "wrong kind").help(suggestion("", known())))
            }
            None => {
                let message = format!("no {wanted} is called `{}` so far", name.value);
                let help = suggestion(&name.value, known());
                Err(Problem::new(name.span.clone(), message, "not known here").help(help))
            }
        }
    }
}
