//! Whether what came back is what the file says, and what it means for the steps that follow.

use super::{
    super::{
        peers::PeerOutcome,
        step::{Call, Expected, Target},
        value::{OptionWord, describe, in_order},
    },
    Named, Outcome, Runner, target_address,
};
use crate::{
    Accepted, Named as Names, Received, Reply, Resolved, Socket, StatusText,
    abi::{Address, EventsReply, NtStatus, Role, StartupReply, WsaError},
    device::Completion,
    status_name,
    words::event_names,
};

impl<'a> Runner<'a> {
    pub(super) fn judge(
        &mut self,
        call: &'a Call,
        owner: &str,
        completion: Completion,
        expected: &Expected,
    ) -> Result<Outcome, String> {
        let (status, bytes) = (completion.status, completion.information);
        if !expected.statuses.admits(status) {
            return Err(format!("it ended with {}, where {} was expected", StatusText(status), expected.statuses));
        }
        let moves = matches!(call, Call::Send { .. } | Call::SendTo { .. } | Call::Receive { .. });
        let mut outcome = Outcome { text: outcome_name(status), status: Some(status), bytes: moves.then_some(bytes) };
        if moves {
            check_bytes(bytes, completion.buffer.get(..bytes), call, expected)?;
            outcome.text = format!("{}, {bytes} bytes", outcome.text);
        }
        let answered = if matches!(call, Call::ReceiveFrom { .. }) { Received::is_answer(status) } else { status >= 0 };
        if !answered {
            return Ok(outcome);
        }
        let client = self.living(owner)?.client.clone();
        let cause = |cause| format!("{cause}");
        match call {
            Call::Startup { .. } => {
                let reply = StartupReply::decode(&client, completion).map_err(cause)?;
                same("the version", reply.version, expected.negotiated)?;
                same("the references", reply.references, expected.references)?;
                outcome.text = format!("version {}, {} reference(s)", reply.version, reply.references);
            }
            Call::Socket { name, role, family, .. } => {
                let socket = Socket::decode(&client, completion).map_err(cause)?;
                self.sockets
                    .insert(name, Named { owner: owner.into(), socket, role: *role, family: *family, address: None });
            }
            Call::Accept { name, .. } => {
                let Accepted { socket, remote, .. } = Accepted::decode(&client, completion).map_err(cause)?;
                let named =
                    Named { owner: owner.into(), socket, role: Role::Connection, family: remote.family, address: None };
                self.sockets.insert(name, named);
                outcome.text = format!("a connection from {remote:?}");
            }
            Call::Bind { socket, .. } => self.note_port(socket),
            Call::AddressOf { .. } => {
                let address = Address::decode(&client, completion).map_err(cause)?;
                self.is_at("the address", address, expected.is.as_ref())?;
                outcome.text = format!("{address:?}");
            }
            Call::ReceiveFrom { .. } => {
                let received = Received::decode(&client, completion).map_err(cause)?;
                return self.judge_datagram(status, received, expected);
            }
            Call::GetOption { option, .. } => {
                let word = OptionWord::of(*option, u32::decode(&client, completion).map_err(cause)?);
                same("the value", word, expected.value)?;
                outcome.text = word.to_string();
            }
            Call::Events { .. } => {
                let reply = EventsReply::decode(&client, completion).map_err(cause)?;
                outcome.text = judge_events(&reply, expected)?;
            }
            Call::Resolve { .. } => {
                let found = Resolved::decode(&client, completion).map_err(cause)?;
                let found: Vec<_> = found.addresses.iter().map(|found| found.address).collect();
                let found = in_order(found);
                let shown = format!("{found:?}");
                if let Some(wanted) = &expected.addresses
                    && in_order(wanted.clone()) != found
                {
                    return Err(format!("the addresses: {shown}, where {wanted:?} was expected"));
                }
                outcome.text = shown;
            }
            Call::NamesOf { .. } => {
                let Names { node, service } = Names::decode(&client, completion).map_err(cause)?;
                same("the name", &node, expected.name.as_ref())?;
                same("the service", &service, expected.service.as_ref())?;
                outcome.text = format!("{node}, {service}");
            }
            _ => {}
        }
        Ok(outcome)
    }

    fn judge_datagram(&self, status: NtStatus, of: Received, expected: &Expected) -> Result<Outcome, String> {
        let Received { data, address, is_truncated, .. } = of;
        same("the bytes", data.len(), expected.bytes)?;
        same_data(&data, expected)?;
        self.is_at("its sender", address, expected.from.as_ref())?;
        same("whether it is truncated", is_truncated, expected.truncated)?;
        let cut = if is_truncated { ", cut off" } else { "" };
        let text = format!("{}{cut} from {address:?}", describe(&data));
        Ok(Outcome { text, status: Some(status), bytes: Some(data.len()) })
    }

    fn is_at(&self, what: &str, address: Address, expected: Option<&Target>) -> Result<(), String> {
        match expected.map(|target| self.address_of(target)).transpose()? {
            Some(wanted) if wanted != address => Err(format!("{what}: {address:?}, where {wanted:?} was expected")),
            _ => Ok(()),
        }
    }

    pub(super) fn judge_peer(&mut self, outcome: PeerOutcome, expected: &Expected) -> Result<Outcome, String> {
        match outcome {
            PeerOutcome::Nothing(text) => Ok(Outcome::said(text)),
            PeerOutcome::Connected(name, peer) => {
                self.peers.add(name, peer);
                Ok(Outcome::said("connected"))
            }
            PeerOutcome::Received(data, from) => {
                same("the bytes", data.len(), expected.bytes)?;
                same_data(&data, expected)?;
                if let Some(from) = from {
                    self.is_at("its sender", from, expected.from.as_ref())?;
                }
                Ok(Outcome { text: describe(&data), status: None, bytes: Some(data.len()) })
            }
            PeerOutcome::Ended { wanted, seen } => {
                let graceful_here = !self.backend.close_is_abortive();
                if wanted.admits(seen, graceful_here) {
                    return Ok(Outcome::said(seen.name()));
                }
                Err(format!("it saw {}, where {} was expected", seen.name(), wanted.name()))
            }
        }
    }

    pub(super) fn address_of(&self, target: &Target) -> Result<Address, String> {
        match target {
            Target::Address(address) => Ok(*address),
            Target::Named(name) => self.peers.address(name).map_or_else(|| target_address(&self.sockets, name), Ok),
        }
    }

    /// Where a socket that let the stack choose is bound. Not every WSK tells.
    fn note_port(&mut self, name: &str) {
        if let Some(named) = self.sockets.get_mut(name)
            && named.address.is_some_and(|address| address.port() == 0)
            && named.role == Role::Datagram
            && let Ok(address) = named.socket.local_address()
        {
            named.address = Some(address);
        }
    }
}

fn same<T: Copy + PartialEq + std::fmt::Display>(what: &str, seen: T, expected: Option<T>) -> Result<(), String> {
    match expected {
        Some(expected) if expected != seen => Err(format!("{what}: {seen}, where {expected} was expected")),
        _ => Ok(()),
    }
}

fn check_bytes(bytes: usize, data: Option<&[u8]>, call: &Call, expected: &Expected) -> Result<(), String> {
    same("the bytes", bytes, expected.bytes)?;
    match call {
        Call::Receive { .. } => same_data(data.unwrap_or_default(), expected),
        _ => Ok(()),
    }
}

fn same_data(data: &[u8], expected: &Expected) -> Result<(), String> {
    match &expected.data {
        Some(wanted) if wanted.0 != data => Err(format!("it got {}, where {wanted:?} was expected", describe(data))),
        _ => Ok(()),
    }
}

fn judge_events(reply: &EventsReply, expected: &Expected) -> Result<String, String> {
    let names = |mask| event_names(mask).join(", ");
    if let Some(wanted) = expected.told
        && wanted != reply.events
    {
        return Err(format!("the events: {}, where {} was expected", names(reply.events), names(wanted)));
    }
    let code = reply.codes.iter().copied().find(|&code| code != 0);
    let error = code.and_then(|code| WsaError::ALL.iter().find(|error| error.code() == code));
    match (error, expected.code) {
        (seen, Some(wanted)) if seen != Some(&wanted) => {
            let seen = seen.map_or("none", |error| error.name());
            Err(format!("the code: {seen}, where {} was expected", wanted.name()))
        }
        (Some(error), _) => Ok(format!("{}, {}", names(reply.events), error.name())),
        (None, _) => Ok(names(reply.events)),
    }
}

/// A status, in one word.
fn outcome_name(status: NtStatus) -> String {
    use crate::abi::WsaError;
    match (status, WsaError::from_status(status), status_name(status)) {
        (0, ..) => "ok".into(),
        (_, Some(error), _) if error != WsaError::OperationAborted => error.name().into(),
        (_, _, Some(name)) => name.into(),
        (_, _, None) => format!("{status:#010X}"),
    }
}
