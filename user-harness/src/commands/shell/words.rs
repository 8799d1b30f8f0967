//! What can be typed, and the words of a line.

use super::Shell;
use crate::{
    Cause, Error,
    abi::{Address, Guid, Provider},
    scenario::{guid, suggestion},
    words::{CONTROLS, OPTIONS},
};
use std::{collections::VecDeque, net::SocketAddr};

/// A command of the shell.
pub(super) struct Command {
    pub name: &'static str,
    /// What it takes: words in capitals stand for something, others are typed as they are.
    pub takes: &'static str,
    pub does: &'static str,
    run: fn(&mut Shell<'_>, Words<'_>) -> Result<(), Error>,
}

macro_rules! commands {
    ($($name:literal $takes:literal $does:literal $run:ident;)*) => {
        pub(super) const COMMANDS: &[Command] =
            &[$(Command { name: $name, takes: $takes, does: $does, run: |shell, words| shell.$run(words) }),*];
    };
}

commands! {
    "startup" "PROVIDER [VERSION|NAMESPACE]" "takes a reference: `startup application 2.2`" startup;
    "cleanup" "[PROVIDER] [NAMESPACE]" "releases one; the last one ends everything" cleanup;
    "socket" "[listen|datagram] [ipv6] [PROVIDER]" "makes a socket, and names it: s1, s2, ..." socket;
    "bind" "[SOCKET] [ADDRESS]" "binds it; without an address, to any" bind;
    "connect" "[SOCKET] ADDRESS" "connects it, and binds it before if need be" connect;
    "listen" "[SOCKET] [ADDRESS]" "binds it and lets it accept: `listen 127.0.0.1:8080`" listen;
    "accept" "[SOCKET]" "takes a connection, and names its socket" accept;
    "send" "[SOCKET] TEXT" "sends the text; in quotes \\n, \\r, \\t, \\x1b are bytes" send;
    "recv" "[SOCKET] [LENGTH] [all]" "receives; `all`: until it is full" receive;
    "sendto" "[SOCKET] ADDRESS TEXT" "sends a datagram there" send_to;
    "recvfrom" "[SOCKET] [LENGTH]" "receives a datagram, and tells where it came from" receive_from;
    "shutdown" "[SOCKET] [abort]" "ends the sending direction, or resets" shutdown;
    "close" "[SOCKET] [gracefully]" "closes it, abortively unless told otherwise" close;
    "address" "[SOCKET] [peer]" "tells its address, or its peer's" address;
    "option" "[SOCKET] OPTION [VALUE]" "tells an option, or sets it: `option SO_LINGER 5` (or `off`)" option;
    "control" "[SOCKET] CONTROL" "does an I/O control" control;
    "events" "[SOCKET] [read|accept|connect|close]" "waits for one of them, or for any" events;
    "resolve" "NAME [SERVICE]" "looks a name up: `startup namespace` before" resolve;
    "names" "ADDRESS" "looks an address and its port up" names;
    "sockets" "" "lists the sockets made here" list_sockets;
    "jobs" "" "lists what runs in the background" list_jobs;
    "wait" "[JOB]" "waits for it, or for all" wait;
    "cancel" "JOB|all|blocking" "cancels it; it still ends, and says how. blocking: a 1.1 client's calls" cancel;
    "pending" "[everybody]" "lists the requests that the driver has, of this client or of all" pending;
    "ledger" "" "shows what the driver holds" ledger;
    "help" "[COMMAND]" "tells what can be typed" help;
    "exit" "" "leaves, as Ctrl-D does" leave;
}

/// Other names of commands.
const ALIASES: [(&str, &str); 4] = [("receive", "recv"), ("quit", "exit"), ("status", "ledger"), ("?", "help")];

/// The command of that name.
pub(super) fn command(name: &str) -> Option<&'static Command> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    COMMANDS.iter().find(|command| command.name == name)
}

/// Every word that can follow a command. `sockets` and `jobs` are those that there are.
pub(super) fn candidates(command: &Command, sockets: &[String], jobs: &[String]) -> Vec<String> {
    let owned = |names: &mut dyn Iterator<Item = &'static str>| names.map(str::to_owned).collect::<Vec<_>>();
    let words = command.takes.split(|of: char| " []|".contains(of)).filter(|word| !word.is_empty());
    let expanded = words.flat_map(|word| match word {
        "PROVIDER" => owned(&mut Provider::ALL.iter().map(|provider| provider.name())),
        "NAMESPACE" => vec!["dns".into(), "numeric".into()],
        "VERSION" => vec!["2.2".into(), "1.1".into()],
        "SOCKET" => sockets.to_vec(),
        "JOB" => jobs.to_vec(),
        "OPTION" => owned(&mut OPTIONS.iter().map(|(name, _)| *name)),
        "CONTROL" => owned(&mut CONTROLS.iter().map(|(name, _)| *name)),
        "COMMAND" => owned(&mut COMMANDS.iter().map(|command| command.name)),
        word if word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) => vec![word.to_owned()],
        _ => Vec::new(),
    });
    expanded.collect()
}

/// The words after a command.
pub(super) struct Words<'a> {
    pub left: VecDeque<&'a str>,
    command: &'static Command,
    background: bool,
}

impl<'a> Words<'a> {
    pub fn next(&mut self) -> Option<&'a str> {
        self.left.pop_front()
    }

    /// Takes a word if it is there.
    pub fn take(&mut self, word: &str) -> bool {
        let place = self.left.iter().position(|&other| other == word);
        place.and_then(|place| self.left.remove(place)).is_some()
    }

    pub fn wrong(&self, why: String) -> Error {
        let Command { name, takes, .. } = self.command;
        Error::new(format!("{name} {takes}").trim_end(), Cause::Usage(why))
    }

    /// The next word, which must be there.
    pub fn needed(&mut self, what: &str) -> Result<&'a str, Error> {
        self.next().ok_or_else(|| self.wrong(format!("it takes {what}")))
    }

    /// Nothing may be left. Whether the request is left to the background.
    pub fn end(self) -> Result<bool, Error> {
        match self.left.front() {
            Some(word) => Err(self.wrong(format!("`{word}` makes no sense there"))),
            None => Ok(self.background),
        }
    }

    /// Nothing may be left, and it waits for nothing.
    pub fn end_at_once(self) -> Result<(), Error> {
        if self.background {
            return Err(self.wrong("it is done at once: leave `&` out".into()));
        }
        self.end().map(|_| ())
    }

    /// One of a few words, whatever its letters' case.
    pub fn one_of<T: Copy>(&self, word: &str, what: &str, words: &[(&str, T)]) -> Result<T, Error> {
        let found = words.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let near = suggestion(word, words.iter().map(|(name, _)| *name)).unwrap_or_default();
            self.wrong(format!("no {what} is called `{word}`; {near}"))
        })
    }

    pub fn provider(&mut self) -> Result<Option<Provider>, Error> {
        let Some(word) = self.next() else { return Ok(None) };
        let known = Provider::ALL.map(|provider| (provider.name(), provider));
        self.one_of(word, "provider", &known).map(Some)
    }

    /// `dns`, `numeric` or a GUID; without one, the domain name system.
    pub fn namespace(&mut self) -> Result<Guid, Error> {
        let word = self.next().unwrap_or("dns");
        guid(word).map_err(|why| self.wrong(why))
    }

    /// `127.0.0.1:80`, `[::1]:80`, or a port of 127.0.0.1.
    pub fn address(&self, word: &str) -> Result<Address, Error> {
        let port = word.parse().ok().map(|port| Address::v4([127, 0, 0, 1], port));
        let address = word.parse::<SocketAddr>().ok().map(Address::from);
        let why = || self.wrong(format!("`{word}` is no address such as 127.0.0.1:80 or [::1]:80, and no port"));
        address.or(port).ok_or_else(why)
    }

    /// The bytes that the words which are left stand for.
    pub fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        let text = Vec::from(std::mem::take(&mut self.left)).join(" ");
        unescaped(&text).map_err(|why| self.wrong(why))
    }
}

/// A text whose `\n`, `\r`, `\t`, `\0`, `\\`, `\"` and `\x1b` are bytes: what the shell itself writes for bytes.
fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            bytes.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        bytes.push(match rest.next() {
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('0') => 0,
            Some(same @ ('\\' | '\'' | '"')) => u8::try_from(same).unwrap_or_default(),
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2);
                byte.ok_or_else(|| format!("`\\x{digits}` is no byte such as \\x1b"))?
            }
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(format!("`\\{other}` is no byte: there is \\n, \\r, \\t, \\0, \\\\ and \\x1b"));
            }
        });
    }
    Ok(bytes)
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
        let Some(command) = command(name) else {
            let near = suggestion(name, COMMANDS.iter().map(|command| command.name));
            let near =
                near.filter(|near| near.starts_with("did")).unwrap_or_else(|| "`help` lists what there is".into());
            return Err(usage(format!("there is no `{name}`; {near}")));
        };
        (command.run)(self, Words { left: words, command, background })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_shell_writes_for_bytes_can_be_typed() {
        let bytes: Vec<u8> = (0..=127).collect();
        assert_eq!(unescaped(&bytes.escape_ascii().to_string()), Ok(bytes));
        assert_eq!(unescaped("gr\u{fc}n"), Ok("gr\u{fc}n".as_bytes().to_vec()));
        assert!(unescaped("\\q").is_err() && unescaped("\\x1").is_err() && unescaped("\\").is_err());
    }

    #[test]
    fn what_can_follow_a_command_comes_from_what_it_takes() {
        let of = |name: &str| candidates(command(name).unwrap(), &["s1".to_owned()], &["3".to_owned()]);
        assert_eq!(of("cancel"), ["3", "all", "blocking"]);
        assert_eq!(of("close"), ["s1", "gracefully"]);
        assert_eq!(of("socket"), ["listen", "datagram", "ipv6", "application", "transport", "san", "namespace"]);
        assert!(of("help").contains(&"help".to_owned()) && of("option").contains(&"TCP_NODELAY".to_owned()));
        assert_eq!(of("send"), ["s1"]);
    }

    #[test]
    fn an_alias_is_the_command_that_it_stands_for() {
        assert_eq!(command("receive").unwrap().name, "recv");
        assert!(ALIASES.iter().all(|(alias, name)| command(alias).unwrap().name == *name));
        assert!(command("recieve").is_none());
    }
}
