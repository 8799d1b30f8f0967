//! The commands that make requests.

use super::{Shell, jobs::Then, words::Words};
use crate::{
    Error, Socket, Wanted,
    abi::{
        AF_INET, AF_INET6, Address, AddressOf, CATALOG, Events, HIGHEST_VERSION, Linger, Namespace, Provider, Role,
        Shutdown, SocketOption, hints,
    },
    scenario::version,
    words::{CONTROLS, EVENTS, OPTIONS},
};

/// How many addresses of a name there is room for.
const ADDRESSES: usize = 64;
/// How many bytes a receive takes unless told otherwise.
const RECEIVE: usize = 65536;

impl Shell<'_> {
    /// The socket that the words name, or the newest, which they need not.
    fn pick(&mut self, words: &mut Words<'_>) -> Result<u32, Error> {
        let named = words.left.front().and_then(|word| word.strip_prefix('s')?.parse::<u32>().ok());
        match named {
            Some(number) if self.sockets.contains_key(&number) => {
                words.next();
                Ok(number)
            }
            Some(number) => Err(words.wrong(format!("there is no s{number}; `sockets` lists them"))),
            None => {
                let newest = self.sockets.keys().next_back().copied();
                newest.ok_or_else(|| words.wrong("there is no socket; `socket` makes one".into()))
            }
        }
    }

    fn socket_at(&self, number: u32) -> Socket {
        self.sockets.get(&number).map(|named| named.socket.clone()).expect("it was just picked")
    }

    fn bound(&mut self, number: u32) -> bool {
        self.sockets.get_mut(&number).is_some_and(|named| std::mem::replace(&mut named.bound, true))
    }

    fn about(&mut self, number: u32, what: &str) {
        if let Some(named) = self.sockets.get_mut(&number) {
            named.about = format!("{}, {what}", named.about);
        }
    }

    pub(super) fn startup(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let provider = words.provider()?.ok_or_else(|| words.wrong("it takes a provider".into()))?;
        let operation = if provider == Provider::Namespace {
            self.client.begin_startup_namespace(words.namespace()?)
        } else {
            let text = words.next().map(version).transpose().map_err(|why| words.wrong(why))?;
            let catalog_id = if provider == Provider::Transport { CATALOG[0].id } else { 0 };
            self.client.begin_startup(provider, text.unwrap_or(HIGHEST_VERSION), catalog_id)
        };
        let background = words.end()?;
        self.do_request(operation, Then::Startup, background)
    }

    pub(super) fn cleanup(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let provider = words.provider()?.unwrap_or(Provider::Application);
        let operation = if provider == Provider::Namespace {
            self.client.begin_cleanup_namespace(words.namespace()?)
        } else {
            self.client.begin_cleanup(provider)
        };
        let background = words.end()?;
        self.do_request(operation, Then::Cleanup(provider), background)
    }

    pub(super) fn socket(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let (role, name) = match (words.take("listen"), words.take("datagram")) {
            (true, false) => (Role::Listen, "listening socket"),
            (false, true) => (Role::Datagram, "datagram socket"),
            (false, false) => (Role::Connection, "socket"),
            (true, true) => return Err(words.wrong("a socket listens or sends datagrams".into())),
        };
        let family = if words.take("ipv6") { AF_INET6 } else { AF_INET };
        let provider = words.provider()?.unwrap_or(Provider::Application);
        let background = words.end()?;
        let about = format!("{name} of {}{}", provider.name(), if family == AF_INET6 { ", IPv6" } else { "" });
        let then = Then::Socket { provider, family, about };
        self.do_request(self.client.begin_socket_of(provider, family, role), then, background)
    }

    /// Any address of a socket's family.
    fn any(&self, number: u32) -> Address {
        let v6 = self.sockets.get(&number).is_some_and(|named| named.family == AF_INET6);
        if v6 { Address::v6([0; 16], 0, 0) } else { Address::v4([0; 4], 0) }
    }

    pub(super) fn bind(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let address = words.next().map(|word| words.address(word)).transpose()?;
        let background = words.end()?;
        let address = address.unwrap_or_else(|| self.any(number));
        self.bound(number);
        self.do_request(self.socket_at(number).begin_bind(address), Then::Nothing, background)
    }

    pub(super) fn connect(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let word = words.needed("an address")?;
        let address = words.address(word)?;
        let background = words.end()?;
        let socket = self.socket_at(number);
        if !self.bound(number) {
            socket.bind(self.any(number))?;
        }
        self.about(number, &format!("to {address:?}"));
        self.do_request(socket.begin_connect(address), Then::Nothing, background)
    }

    pub(super) fn listen(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let address = words.next().map(|word| words.address(word)).transpose()?;
        let background = words.end()?;
        let socket = self.socket_at(number);
        if let Some(address) = address {
            socket.bind(address)?;
            self.bound(number);
            self.about(number, &format!("on {address:?}"));
        }
        self.do_request(socket.begin_listen(16), Then::Nothing, background)
    }

    pub(super) fn accept(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let background = words.end()?;
        let provider = self.sockets.get(&number).map_or(Provider::Application, |named| named.provider);
        self.do_request(self.socket_at(number).begin_accept(), Then::Accept(provider), background)
    }

    pub(super) fn send(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let data = words.bytes()?;
        let background = words.end()?;
        self.do_request(self.socket_at(number).begin_send(data), Then::Send, background)
    }

    pub(super) fn send_to(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let word = words.needed("an address")?;
        let address = words.address(word)?;
        let data = words.bytes()?;
        let background = words.end()?;
        let socket = self.socket_at(number);
        if !self.bound(number) {
            socket.bind(self.any(number))?;
        }
        self.do_request(socket.begin_send_to(data, address), Then::Send, background)
    }

    fn length(words: &mut Words<'_>) -> Result<usize, Error> {
        let Some(word) = words.next() else { return Ok(RECEIVE) };
        let length = word.parse::<u32>().map_err(|_| words.wrong(format!("`{word}` is no length in bytes")))?;
        Ok(length as usize)
    }

    pub(super) fn receive(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let all = words.take("all");
        let length = Self::length(&mut words)?;
        let background = words.end()?;
        let socket = self.socket_at(number);
        let operation = if all { socket.begin_receive_all(length) } else { socket.begin_receive(length) };
        self.do_request(operation, Then::Receive, background)
    }

    pub(super) fn receive_from(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let length = Self::length(&mut words)?;
        let background = words.end()?;
        self.do_request(self.socket_at(number).begin_receive_from(length), Then::ReceiveFrom, background)
    }

    pub(super) fn shutdown(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let how = if words.take("abort") { Shutdown::ABORT } else { Shutdown::SEND };
        let background = words.end()?;
        self.do_request(self.socket_at(number).begin_shutdown(how), Then::Nothing, background)
    }

    pub(super) fn close(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let graceful = words.take("gracefully");
        let background = words.end()?;
        let socket = self.socket_at(number);
        self.sockets.remove(&number);
        let operation = if graceful { socket.begin_close_gracefully(None) } else { socket.begin_close() };
        self.do_request(operation, Then::Nothing, background)
    }

    pub(super) fn address(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let end = if words.take("peer") { AddressOf::PEER } else { AddressOf::LOCAL };
        let background = words.end()?;
        self.do_request(self.socket_at(number).begin_address(end), Then::Address, background)
    }

    pub(super) fn option(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let word = words.needed("an option's name")?;
        let option = words.one_of(word, "option", &OPTIONS)?;
        let value = words.next().map(|word| option_value(&words, option, word)).transpose()?;
        let background = words.end()?;
        let socket = self.socket_at(number);
        match value {
            Some(value) => self.do_request(socket.begin_set_option(option, value), Then::Nothing, background),
            None => self.do_request(socket.begin_option(option), Then::Option(option), background),
        }
    }

    pub(super) fn control(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let word = words.needed("an I/O control's name")?;
        let control = words.one_of(word, "I/O control", &CONTROLS)?;
        let background = words.end()?;
        self.do_request(self.socket_at(number).begin_control(control), Then::Number, background)
    }

    pub(super) fn events(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let mut mask = 0;
        while let Some(word) = words.next() {
            mask |= words.one_of(word, "event", &EVENTS)?;
        }
        let background = words.end()?;
        let mask = if mask == 0 { self.every_event(number) } else { mask };
        self.do_request(self.socket_at(number).begin_events(mask), Then::Events, background)
    }

    /// The events that a socket of its role can tell of.
    fn every_event(&self, number: u32) -> u32 {
        match self.sockets.get(&number).map(|named| &*named.about) {
            Some(about) if about.starts_with("listening") => Events::ACCEPT,
            Some(about) if about.starts_with("datagram") => Events::READ,
            _ => Events::READ | Events::CONNECT | Events::CLOSE,
        }
    }

    pub(super) fn resolve(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let node = words.needed("a name")?;
        let service = words.next();
        let background = words.end()?;
        let wanted = Wanted { node: Some(node), service, socket_type: hints::STREAM, ..Wanted::default() };
        let operation = self.client.begin_resolve(Namespace::Dns.guid(), &wanted, ADDRESSES);
        self.do_request(operation, Then::Addresses, background)
    }

    pub(super) fn names(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let word = words.needed("an address")?;
        let address = words.address(word)?;
        let background = words.end()?;
        let operation = self.client.begin_names_of(Namespace::Dns.guid(), address, 0);
        self.do_request(operation, Then::Names, background)
    }

    pub(super) fn pending(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let everybody = words.take("everybody");
        let background = words.end()?;
        self.do_request(self.client.begin_pending(everybody, 256), Then::Pending, background)
    }
}

/// A number; of `SO_LINGER`, seconds or `off`.
fn option_value(words: &Words<'_>, option: SocketOption, word: &str) -> Result<u32, Error> {
    let wrong = |what: &str| words.wrong(format!("`{word}` is no {what}"));
    match (option, word) {
        (SocketOption::Linger, "off") => Ok(0),
        (SocketOption::Linger, word) => {
            let l_linger = word.parse().map_err(|_| wrong("number of seconds up to 65535, and not `off`"))?;
            Ok(zerocopy::transmute!(Linger { l_onoff: 1, l_linger }))
        }
        (_, "on") => Ok(1),
        (_, "off") => Ok(0),
        (_, word) => word.parse().map_err(|_| wrong("number, and neither `on` nor `off`")),
    }
}
