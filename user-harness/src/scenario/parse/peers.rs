//! The verbs of peer programs.

use super::{
    super::{
        fields::{At, Fields},
        names::What,
        step::{Action, Ends, Expected, PeerAct},
    },
    Reader,
    requests::FAMILIES,
};
use crate::abi::AF_INET;

impl Reader {
    fn peer(&mut self, fields: &mut Fields<'_>, act: PeerAct) -> Action {
        let background = self.background(fields, act.answers());
        let expected = if background.is_some() { Expected::default() } else { self.expected(fields, act.answers()) };
        Action::Peer { act, background, expected }
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of the verbs, most of which can be misused")]
    pub(super) fn peer_listen(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let family = fields.word("family", FAMILIES).unwrap_or(AF_INET);
        self.names.give(&name.value, What::PeerListener);
        Some(self.peer(fields, PeerAct::Listen { name: name.value, family }))
    }

    pub(super) fn peer_accept(&mut self, fields: &mut Fields<'_>, listener: At<String>) -> Option<Action> {
        let listener = self.known(fields, listener, &[What::PeerListener]);
        let name = self.new_name(fields, "as", What::Peer)?;
        Some(self.peer(fields, PeerAct::Accept { listener: listener?, name }))
    }

    pub(super) fn peer_connect(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let to = self.to(fields)?;
        let refused = fields.flag("refused").unwrap_or_default();
        self.names.give(&name.value, What::Peer);
        Some(self.peer(fields, PeerAct::Connect { name: name.value, to, refused }))
    }

    pub(super) fn peer_send(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let data = Self::data_to_send(fields);
        let peer = self.known(fields, name, &[What::Peer]);
        Some(self.peer(fields, PeerAct::Send { peer: peer?, data: data? }))
    }

    pub(super) fn peer_receive(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let length = fields.number("length");
        let peer = self.known(fields, name, &[What::Peer]);
        Some(self.peer(fields, PeerAct::Receive { peer: peer?, length }))
    }

    pub(super) fn peer_shutdown(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let peer = self.known(fields, name, &[What::Peer])?;
        Some(self.peer(fields, PeerAct::Shutdown { peer }))
    }

    pub(super) fn peer_close(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let peer = self.known(fields, name, &[What::Peer])?;
        Some(self.peer(fields, PeerAct::Close { peer }))
    }

    pub(super) fn peer_reset(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let peer = self.known(fields, name, &[What::Peer])?;
        Some(self.peer(fields, PeerAct::Reset { peer }))
    }

    pub(super) fn peer_ends(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        const HOW: &[(&str, Ends)] =
            &[("reset", Ends::Reset), ("end_of_stream", Ends::EndOfStream), ("any", Ends::Any)];
        let how = fields.word("how", HOW).unwrap_or(Ends::Any);
        let peer = self.known(fields, name, &[What::Peer])?;
        Some(self.peer(fields, PeerAct::Ends { peer, how }))
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of the verbs, most of which can be misused")]
    pub(super) fn peer_socket(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let family = fields.word("family", FAMILIES).unwrap_or(AF_INET);
        self.names.give(&name.value, What::PeerSocket);
        Some(self.peer(fields, PeerAct::Socket { name: name.value, family }))
    }

    pub(super) fn peer_send_to(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let to = self.to(fields);
        let data = Self::data_to_send(fields);
        let peer = self.known(fields, name, &[What::PeerSocket]);
        Some(self.peer(fields, PeerAct::SendTo { peer: peer?, to: to?, data: data? }))
    }

    pub(super) fn peer_receive_from(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let peer = self.known(fields, name, &[What::PeerSocket])?;
        Some(self.peer(fields, PeerAct::ReceiveFrom { peer }))
    }
}
