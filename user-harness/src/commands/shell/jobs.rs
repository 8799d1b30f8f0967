//! What a request's answer means to the shell.

use super::Named;
use crate::{
    Accepted, Cause, Client, Operation, Reply, Sent, Socket,
    abi::{Address, StartupReply},
    device::Completion,
};

/// A request under way.
pub(super) struct Job {
    pub operation: Operation<Completion>,
    pub then: Then,
}

/// What its answer is.
pub(super) enum Then {
    Nothing,
    Startup,
    Socket(String),
    Accept,
    Send,
    Receive,
    Address,
}

/// An answer.
#[derive(Default)]
pub(super) struct Done {
    pub outcome: String,
    pub socket: Option<Named>,
    pub bytes: Option<usize>,
}

impl Then {
    /// Reads the answer of a request that succeeded.
    pub fn conclude(self, client: &Client, completion: Completion) -> Result<Done, Cause> {
        Ok(match self {
            Self::Nothing => Done::default(),
            Self::Startup => {
                let reply = StartupReply::decode(client, completion)?;
                let outcome = format!(
                    "version {}, highest {}, {} reference(s)",
                    reply.version, reply.highest_version, reply.references
                );
                Done { outcome, ..Done::default() }
            }
            Self::Socket(about) => {
                let socket = Socket::decode(client, completion)?;
                Done { outcome: String::new(), socket: Some(Named { socket, bound: false, about }), bytes: None }
            }
            Self::Accept => {
                let Accepted { socket, local, remote } = Accepted::decode(client, completion)?;
                let about = format!("accepted on {local:?} from {remote:?}");
                Done { outcome: about.clone(), socket: Some(Named { socket, bound: true, about }), bytes: None }
            }
            Self::Send => {
                let Sent { bytes, .. } = Sent::decode(client, completion)?;
                Done { outcome: format!("{bytes} bytes"), bytes: Some(bytes), ..Done::default() }
            }
            Self::Receive => {
                let data = Vec::decode(client, completion)?;
                let outcome = match data.len() {
                    0 => "the peer's end".into(),
                    length => format!("{length} bytes \"{}\"", data.escape_ascii()),
                };
                Done { outcome, bytes: Some(data.len()), ..Done::default() }
            }
            Self::Address => Done { outcome: format!("{:?}", Address::decode(client, completion)?), ..Done::default() },
        })
    }
}
