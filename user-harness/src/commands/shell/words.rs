//! What can be typed, and what it does.

use super::{Shell, Told, jobs::Then};
use crate::{
    Cause, Error, Socket,
    abi::{
        AF_INET, AF_INET6, Address, AddressOf, CATALOG, HIGHEST_VERSION, Namespace, Provider, Role, Shutdown,
        WinsockVersion,
    },
    commands::status::show_status,
    output::Table,
    scenario::suggestion,
};
use std::{collections::VecDeque, net::SocketAddr};

/// A command of the shell.
pub(super) struct Command {
    pub name: &'static str,
    takes: &'static str,
    does: &'static str,
    run: fn(&mut Shell<'_>, Words<'_>) -> Result<(), Error>,
}

macro_rules! commands {
    ($($name:literal $takes:literal $does:literal $run:ident;)*) => {
        pub(super) const COMMANDS: &[Command] =
            &[$(Command { name: $name, takes: $takes, does: $does, run: |shell, words| shell.$run(words) }),*];
    };
}

commands! {
    "startup" "PROVIDER [VERSION]" "takes a reference: `startup application 2.2`" startup;
    "cleanup" "[PROVIDER]" "releases one; the last one ends everything" cleanup;
    "socket" "[listen] [ipv6] [PROVIDER]" "makes a socket, and names it: s1, s2, ..." socket;
    "bind" "[SOCKET] [ADDRESS]" "binds it; without an address, to any" bind;
    "connect" "[SOCKET] ADDRESS" "connects it, and binds it before if need be" connect;
    "listen" "[SOCKET] ADDRESS" "binds it and lets it accept: `listen 127.0.0.1:8080`" listen;
    "accept" "[SOCKET]" "takes a connection, and names its socket" accept;
    "send" "[SOCKET] TEXT..." "sends the text" send;
    "recv" "[SOCKET] [LENGTH] [all]" "receives; `all`: until it is full" receive;
    "shutdown" "[SOCKET] [abort]" "ends the sending direction, or resets" shutdown;
    "close" "[SOCKET] [gracefully]" "closes it, abortively unless told otherwise" close;
    "address" "[SOCKET] [peer]" "tells its address, or its peer's" address;
    "sockets" "" "lists the sockets made here" sockets;
    "jobs" "" "lists what runs in the background" list_jobs;
    "wait" "[JOB]" "waits for it, or for all" wait;
    "cancel" "JOB|all" "cancels it; it still ends, and says how" cancel;
    "ledger" "" "shows what the driver holds" ledger;
    "help" "[COMMAND]" "tells what can be typed" help;
    "exit" "" "leaves, as Ctrl-D does" leave;
}

const AFTER: &str =
    "A `&` at the end leaves the request to the background. SOCKET is s1, s2, ...; without one the newest is meant.";

/// The words after a command.
pub(super) struct Words<'a> {
    left: VecDeque<&'a str>,
    command: &'static Command,
    background: bool,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.left.pop_front()
    }

    /// Takes a word if it is there.
    fn take(&mut self, word: &str) -> bool {
        let place = self.left.iter().position(|&other| other == word);
        place.and_then(|place| self.left.remove(place)).is_some()
    }

    fn wrong(&self, why: String) -> Error {
        let Command { name, takes, .. } = self.command;
        Error::new(format!("{name} {takes}").trim_end(), Cause::Usage(why))
    }

    /// Nothing may be left.
    fn end(self) -> Result<bool, Error> {
        match self.left.front() {
            Some(word) => Err(self.wrong(format!("`{word}` makes no sense there"))),
            None => Ok(self.background),
        }
    }

    fn provider(&mut self) -> Result<Option<Provider>, Error> {
        let Some(word) = self.next() else { return Ok(None) };
        let found = Provider::ALL.into_iter().find(|provider| provider.name() == word);
        let near = || suggestion(word, Provider::ALL.iter().map(|provider| provider.name())).unwrap_or_default();
        found.map(Some).ok_or_else(|| self.wrong(format!("no provider is called `{word}`; {}", near())))
    }

    /// `127.0.0.1:80`, `[::1]:80`, or a port of 127.0.0.1.
    fn address(&self, word: &str) -> Result<Address, Error> {
        let port = word.parse().ok().map(|port| Address::v4([127, 0, 0, 1], port));
        let address = word.parse::<SocketAddr>().ok().map(Address::from);
        let why = || self.wrong(format!("`{word}` is no address such as 127.0.0.1:80 or [::1]:80, and no port"));
        address.or(port).ok_or_else(why)
    }
}

impl Shell<'_> {
    /// Does what a line says.
    pub(super) fn line(&mut self, line: &str) -> Result<(), Error> {
        let usage = |why: String| Error::new("understand the line", Cause::Usage(why));
        let line = line.trim();
        let (line, background) = match line.strip_suffix('&') {
            Some(line) => (line, true),
            None => (line, false),
        };
        let words = shlex::split(line).ok_or_else(|| usage("a quotation mark has no other".into()))?;
        let mut words: VecDeque<&str> = words.iter().map(String::as_str).collect();
        let Some(name) = words.pop_front().filter(|name| !name.starts_with('#')) else { return Ok(()) };
        let name = match name {
            "receive" => "recv",
            "quit" => "exit",
            name => name,
        };
        let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
            let near = suggestion(name, COMMANDS.iter().map(|command| command.name));
            let near =
                near.filter(|near| near.starts_with("did")).unwrap_or_else(|| "`help` lists what there is".into());
            return Err(usage(format!("there is no `{name}`; {near}")));
        };
        (command.run)(self, Words { left: words, command, background })
    }

    fn leave(&mut self, words: Words<'_>) -> Result<(), Error> {
        words.end()?;
        self.leaving = true;
        Ok(())
    }

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
                newest.ok_or_else(|| words.wrong("there is no socket yet; `socket` makes one".into()))
            }
        }
    }

    fn socket_at(&self, number: u32) -> Socket {
        self.sockets.get(&number).map(|named| named.socket.clone()).expect("it was just picked")
    }

    fn startup(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let provider = words.provider()?.ok_or_else(|| words.wrong("it takes a provider".into()))?;
        let version = match words.next() {
            None => HIGHEST_VERSION,
            Some(text) => {
                let parts = text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                let (major, minor) = parts.ok_or_else(|| words.wrong(format!("`{text}` is no version such as 2.2")))?;
                WinsockVersion::new(major, minor)
            }
        };
        let background = words.end()?;
        let operation = match provider {
            Provider::Namespace => self.client.begin_startup_namespace(Namespace::Dns.guid()),
            Provider::Transport => self.client.begin_startup(provider, version, CATALOG[0].id),
            _ => self.client.begin_startup(provider, version, 0),
        };
        self.do_request(operation, Then::Startup, background)
    }

    fn cleanup(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let provider = words.provider()?.unwrap_or(Provider::Application);
        let background = words.end()?;
        let operation = match provider {
            Provider::Namespace => self.client.begin_cleanup_namespace(Namespace::Dns.guid()),
            provider => self.client.begin_cleanup(provider),
        };
        self.do_request(operation, Then::Nothing, background)
    }

    fn socket(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let role = if words.take("listen") { Role::Listen } else { Role::Connection };
        let family = if words.take("ipv6") { AF_INET6 } else { AF_INET };
        let provider = words.provider()?.unwrap_or(Provider::Application);
        let background = words.end()?;
        let role_name = if role == Role::Listen { "listening socket" } else { "socket" };
        let about = format!("{role_name} of {}{}", provider.name(), if family == AF_INET6 { ", IPv6" } else { "" });
        self.do_request(self.client.begin_socket_of(provider, family, role), Then::Socket(about), background)
    }

    fn bind(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let address = words.next().map(|word| words.address(word)).transpose()?.unwrap_or(Address::v4([0; 4], 0));
        let background = words.end()?;
        self.bound(number);
        self.do_request(self.socket_at(number).begin_bind(address), Then::Nothing, background)
    }

    fn bound(&mut self, number: u32) -> bool {
        self.sockets.get_mut(&number).is_some_and(|named| std::mem::replace(&mut named.bound, true))
    }

    fn connect(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let word = words.next().ok_or_else(|| words.wrong("it takes an address".into()))?;
        let address = words.address(word)?;
        let background = words.end()?;
        let socket = self.socket_at(number);
        if !self.bound(number) {
            let any = if address.as_v6().is_some() { Address::v6([0; 16], 0, 0) } else { Address::v4([0; 4], 0) };
            socket.bind(any)?;
        }
        self.about(number, &format!("to {address:?}"));
        self.do_request(socket.begin_connect(address), Then::Nothing, background)
    }

    fn about(&mut self, number: u32, what: &str) {
        if let Some(named) = self.sockets.get_mut(&number) {
            named.about = format!("{}, {what}", named.about);
        }
    }

    fn listen(&mut self, mut words: Words<'_>) -> Result<(), Error> {
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

    fn accept(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let background = words.end()?;
        self.do_request(self.socket_at(number).begin_accept(), Then::Accept, background)
    }

    fn send(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let text = Vec::from(std::mem::take(&mut words.left)).join(" ");
        let background = words.end()?;
        self.do_request(self.socket_at(number).begin_send(text.into_bytes()), Then::Send, background)
    }

    fn receive(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let all = words.take("all");
        let length = match words.next() {
            None => 65536,
            Some(word) => word.parse().map_err(|_| words.wrong(format!("`{word}` is no length")))?,
        };
        let background = words.end()?;
        let socket = self.socket_at(number);
        let operation = if all { socket.begin_receive_all(length) } else { socket.begin_receive(length) };
        self.do_request(operation, Then::Receive, background)
    }

    fn shutdown(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let how = if words.take("abort") { Shutdown::ABORT } else { Shutdown::SEND };
        let background = words.end()?;
        self.do_request(self.socket_at(number).begin_shutdown(how), Then::Nothing, background)
    }

    fn close(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let graceful = words.take("gracefully");
        let background = words.end()?;
        let socket = self.socket_at(number);
        self.sockets.remove(&number);
        let operation = if graceful { socket.begin_close_gracefully(None) } else { socket.begin_close() };
        self.do_request(operation, Then::Nothing, background)
    }

    fn address(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let number = self.pick(&mut words)?;
        let end = if words.take("peer") { AddressOf::PEER } else { AddressOf::LOCAL };
        let background = words.end()?;
        self.do_request(self.socket_at(number).begin_address(end), Then::Address, background)
    }

    fn sockets(&mut self, words: Words<'_>) -> Result<(), Error> {
        words.end()?;
        for (number, named) in &self.sockets {
            self.output.emit(&Told::Socket { socket: format!("s{number}"), about: named.about.clone() })?;
        }
        Ok(())
    }

    fn list_jobs(&mut self, words: Words<'_>) -> Result<(), Error> {
        words.end()?;
        for (&job, running) in &self.jobs {
            let state = if running.operation.is_complete() { "ended" } else { "pending" };
            self.output.emit(&Told::Job { job, what: running.operation.what().into(), state })?;
        }
        Ok(())
    }

    /// The job that a word names.
    fn job(&self, words: &Words<'_>, word: &str) -> Result<u32, Error> {
        let number = word.trim_matches(['[', ']', '%']).parse().ok();
        number.filter(|number| self.jobs.contains_key(number)).ok_or_else(|| {
            let known: Vec<_> = self.jobs.keys().map(u32::to_string).collect();
            let there_is =
                if known.is_empty() { "there is none".into() } else { format!("there is {}", known.join(", ")) };
            words.wrong(format!("no job is called `{word}`; {there_is}"))
        })
    }

    fn wait(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let one = words.next().map(|word| self.job(&words, word)).transpose()?;
        words.end()?;
        let numbers = one.map_or_else(|| self.jobs.keys().copied().collect(), |number| vec![number]);
        for number in numbers {
            if !self.wait_for(number)? {
                break;
            }
        }
        Ok(())
    }

    /// Waits for a job; Ctrl-C ends the waiting, not the job.
    fn wait_for(&mut self, number: u32) -> Result<bool, Error> {
        use crate::inbox::Wake;
        while self.jobs.get(&number).is_some_and(|job| !job.operation.is_complete()) {
            if let Wake::Interrupt = self.inbox.wait(self.backend)? {
                self.interrupt.reset();
                return Ok(false);
            }
        }
        self.conclude_job(number).map(|()| true)
    }

    fn cancel(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let word = words.next().ok_or_else(|| words.wrong("it takes a job, or `all`".into()))?;
        let numbers: Vec<_> = match word {
            "all" => self.jobs.keys().copied().collect(),
            word => vec![self.job(&words, word)?],
        };
        words.end()?;
        for &number in &numbers {
            if let Some(job) = self.jobs.get(&number) {
                job.operation.cancel();
            }
        }
        for number in numbers {
            if !self.wait_for(number)? {
                break;
            }
        }
        Ok(())
    }

    fn ledger(&mut self, words: Words<'_>) -> Result<(), Error> {
        words.end()?;
        show_status(&self.client, self.choice, self.output)
    }

    fn help(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let only = words.next();
        words.end()?;
        let mut table = Table::new(&["type", "what it does"], &[]);
        for command in COMMANDS.iter().filter(|command| only.is_none_or(|only| only == command.name)) {
            table.row([format!("{} {}", command.name, command.takes), command.does.to_owned()]);
        }
        self.say(format!("{}\n{AFTER}", table.text(0)))
    }
}
