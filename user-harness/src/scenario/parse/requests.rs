//! The verbs that make requests to the driver.

use super::{
    super::{
        fields::{At, Fields},
        names::What,
        problem::Problem,
        step::{Action, Call, Expected, Linger},
        value::{self, OptionWord},
    },
    Reader,
};
use crate::{
    abi::{
        AF_INET, AF_INET6, AddressOf, CATALOG, Guid, HIGHEST_VERSION, Namespace, Provider, Role, Shutdown, SocketOption,
    },
    words::{EVENTS, OPTIONS},
};

const PROVIDERS: [(&str, Provider); Provider::ALL.len()] = {
    let mut table = [("", Provider::Application); Provider::ALL.len()];
    let mut index = 0;
    while index < table.len() {
        table[index] = (Provider::ALL[index].name(), Provider::ALL[index]);
        index += 1;
    }
    table
};
pub(super) const FAMILIES: &[(&str, u16)] = &[("ipv4", AF_INET), ("ipv6", AF_INET6)];

impl Reader {
    /// The end of a request's fields: what must come back, or the name to wait for.
    fn request(&mut self, fields: &mut Fields<'_>, call: Call) -> Action {
        let client = self.client(fields);
        let background = self.background(fields, call.answers());
        let expected = if background.is_some() { Expected::default() } else { self.expected(fields, call.answers()) };
        Action::Request { client, call, background, expected }
    }

    pub(super) fn startup(&mut self, fields: &mut Fields<'_>, _: At<String>) -> Option<Action> {
        let provider = fields.word("startup", &PROVIDERS)?;
        let version = fields.parsed("version", "a version", value::version).unwrap_or(HIGHEST_VERSION);
        let default = if provider == Provider::Transport { CATALOG.first().map_or(0, |entry| entry.id) } else { 0 };
        let guid = guid_of(fields, provider);
        let catalog_id = fields.number("catalog_id").unwrap_or(default);
        Some(self.request(fields, Call::Startup { provider, version, catalog_id, guid }))
    }

    pub(super) fn cleanup(&mut self, fields: &mut Fields<'_>, _: At<String>) -> Option<Action> {
        let provider = fields.word("cleanup", &PROVIDERS)?;
        let guid = guid_of(fields, provider);
        Some(self.request(fields, Call::Cleanup { provider, guid }))
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of the verbs, most of which can be misused")]
    pub(super) fn socket(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        const ROLES: &[(&str, Role)] =
            &[("connection", Role::Connection), ("listen", Role::Listen), ("datagram", Role::Datagram)];
        let provider = fields.word("provider", &PROVIDERS).unwrap_or(Provider::Application);
        let role = fields.word("role", ROLES).unwrap_or(Role::Connection);
        let family = fields.word("family", FAMILIES).unwrap_or(AF_INET);
        self.names.give(&name.value, What::Socket);
        Some(self.request(fields, Call::Socket { name: name.value, provider, role, family }))
    }

    pub(super) fn bind(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let address = fields.parsed("address", "an address", value::address);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Bind { socket: socket?, address }))
    }

    pub(super) fn listen(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let backlog = fields.number("backlog").unwrap_or(16);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Listen { socket: socket?, backlog }))
    }

    pub(super) fn accept(&mut self, fields: &mut Fields<'_>, listener: At<String>) -> Option<Action> {
        let socket = self.known(fields, listener, &[What::Socket]);
        // Which ends otherwise than well makes no socket, and needs no name for one.
        let name = fields.text("as").map(|name| name.value).unwrap_or_default();
        self.names.give(&name, What::Socket);
        Some(self.request(fields, Call::Accept { socket: socket?, name }))
    }

    pub(super) fn connect(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let to = self.to(fields);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Connect { socket: socket?, to: to? }))
    }

    pub(super) fn send(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let data = Self::data_to_send(fields);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Send { socket: socket?, data: data? }))
    }

    pub(super) fn receive(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let length = fields.number("length").unwrap_or(65536);
        let all = fields.flag("all").unwrap_or_default();
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Receive { socket: socket?, length, all }))
    }

    pub(super) fn shutdown(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let how = fields.word("how", &[("send", Shutdown::SEND), ("abort", Shutdown::ABORT)]);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Shutdown { socket: socket?, how: how.unwrap_or(Shutdown::SEND) }))
    }

    pub(super) fn close(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let time = fields.time("linger").map(Linger::For);
        let graceful = fields.flag("graceful").unwrap_or_default().then_some(Linger::Default);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Close { socket: socket?, linger: time.or(graceful) }))
    }

    pub(super) fn address_of(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let end = fields.word("end", &[("local", AddressOf::LOCAL), ("peer", AddressOf::PEER)]);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::AddressOf { socket: socket?, end: end.unwrap_or(AddressOf::LOCAL) }))
    }

    pub(super) fn send_to(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let to = self.to(fields);
        let data = Self::data_to_send(fields);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::SendTo { socket: socket?, to: to?, data: data? }))
    }

    pub(super) fn receive_from(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let length = fields.number("length").unwrap_or(65536);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::ReceiveFrom { socket: socket?, length }))
    }

    fn option(fields: &mut Fields<'_>) -> Option<SocketOption> {
        if fields.value("option").is_none() {
            fields.missing("option", "the option's name, such as \"TCP_NODELAY\"");
        }
        fields.word("option", &OPTIONS)
    }

    pub(super) fn set_option(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let option = Self::option(fields);
        let span = fields.value("value").map(toml::Spanned::span);
        if span.is_none() {
            fields.missing("value", "what it is set to");
        }
        let word = OptionWord::read(fields, "value");
        let value = option.zip(word).and_then(|(option, word)| {
            let wrong = |why| fields.problems().add(Problem::new(span.unwrap_or_default(), why, "too long"));
            word.bits(option).map_err(wrong).ok()
        });
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::SetOption { socket: socket?, option: option?, value: value? }))
    }

    pub(super) fn get_option(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let option = Self::option(fields);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::GetOption { socket: socket?, option: option? }))
    }

    pub(super) fn events(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        if fields.value("of").is_none() {
            fields.missing("of", "the events that are waited for, such as [\"read\", \"close\"]");
        }
        let mask = fields.mask("of", &EVENTS);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Events { socket: socket?, mask: mask? }))
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of the verbs, most of which can be misused")]
    pub(super) fn resolve(&mut self, fields: &mut Fields<'_>, node: At<String>) -> Option<Action> {
        let guid = guid_of(fields, Provider::Namespace);
        let service = fields.text("service").map(|service| service.value);
        let family = fields.word("family", FAMILIES).unwrap_or(0);
        Some(self.request(fields, Call::Resolve { guid, node: node.value, service, family }))
    }

    pub(super) fn names_of(&mut self, fields: &mut Fields<'_>, _: At<String>) -> Option<Action> {
        let guid = guid_of(fields, Provider::Namespace);
        let address = self.target(fields, "names_of")?;
        Some(self.request(fields, Call::NamesOf { guid, address }))
    }

    pub(super) fn cancel_blocking(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let client = self.known(fields, name, &[What::Client])?;
        let expected = self.expected(fields, Call::CancelBlocking.answers());
        Some(Action::Request { client: Some(client), call: Call::CancelBlocking, background: None, expected })
    }
}

/// Which namespace provider: by name or GUID.
fn guid_of(fields: &mut Fields<'_>, provider: Provider) -> Guid {
    if provider != Provider::Namespace {
        return Guid::NIL;
    }
    fields.parsed("guid", "`dns`, `numeric` or a GUID", value::guid).unwrap_or_else(|| Namespace::Dns.guid())
}
