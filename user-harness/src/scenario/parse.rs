//! From a file's text to a scenario: everything that can be known to be wrong before it runs is told, all at once.

use super::{
    fields::{At, Fields, Problems, integer, kind_of},
    ledger,
    names::{Names, What},
    problem::{Problem, Source, suggestion},
    step::{Action, Call, Ends, Expected, Figure, Linger, PeerAct, Scenario, Step, Target},
    value::{self, Data, Statuses},
};
use crate::{
    abi::{AF_INET, AF_INET6, AddressOf, CATALOG, Guid, HIGHEST_VERSION, Namespace, Provider, Role, Shutdown},
    backend::Feature,
};
use std::{ops::Range, time::Duration};
use toml::de::{DeArray, DeTable};

/// How long a step waits unless the file or the step says so.
const WITHIN: Duration = Duration::from_secs(10);
/// The client of a file that names none.
const MAIN: &str = "main";

/// Reads a scenario.
pub fn parse(source: Source) -> Result<Scenario, (Source, Vec<Problem>)> {
    let problems = Problems::default();
    let scenario = match DeTable::parse(&source.text) {
        Ok(document) => {
            let span = 0..source.text.find('\n').unwrap_or(source.text.len());
            read(Fields::new(document.get_ref(), span, &problems))
        }
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            problems.add(Problem::new(span, "this is no TOML", error.message().to_owned()));
            None
        }
    };
    let problems = problems.into_sorted();
    match scenario {
        Some(scenario) if problems.is_empty() => Ok(Scenario { source, ..scenario }),
        _ => Err((source, problems)),
    }
}

fn read(mut fields: Fields<'_>) -> Option<Scenario> {
    let problems = fields.problems();
    let title = fields.text("title").map(|title| title.value);
    if title.is_none() {
        fields.missing("title", "a scenario says in a sentence what it shows");
    }
    let proves = fields.texts("proves").unwrap_or_default().into_iter().map(|clause| clause.value).collect();
    let needs = fields.texts("needs").unwrap_or_default().iter().filter_map(|need| feature(need, problems)).collect();
    let clients = fields.texts("clients").unwrap_or_default();
    let within = fields.time("within").unwrap_or(WITHIN);
    let mut clients: Vec<_> = clients.into_iter().map(|client| client.value).collect();
    if clients.is_empty() {
        clients.push(MAIN.into());
    }
    let mut reader = Reader { names: Names::default(), main: clients.first().cloned().unwrap_or_default() };
    for client in &clients {
        reader.names.give(client, What::Client);
    }
    let steps = fields.array("step", "steps, each under [[step]]").map(|steps| reader.steps(steps, problems));
    if steps.as_ref().is_none_or(Vec::is_empty) {
        fields.missing("step", "a scenario has steps, each under [[step]]");
    }
    fields.finish();
    let (title, steps) = (title?, steps?);
    Some(Scenario { title, proves, needs, clients, within, steps, source: Source::default() })
}

fn feature(name: &At<String>, problems: &Problems) -> Option<Feature> {
    let found = Feature::ALL.iter().find(|(known, _)| *known == name.value);
    if found.is_none() {
        let help = suggestion(&name.value, Feature::ALL.iter().map(|&(name, _)| name));
        let message = format!("nothing that can be needed is called `{}`", name.value);
        problems.add(Problem::new(name.span.clone(), message, "unknown").help(help));
    }
    found.map(|&(_, feature)| feature)
}

/// What reads the fields of a step after its verb.
type Verb = fn(&mut Reader, &mut Fields<'_>, At<String>) -> Option<Action>;

/// The verbs whose value is a name or a word. `ledger`, `pending` and `repeat` take other things.
const VERBS: &[(&str, Verb)] = &[
    ("startup", Reader::startup),
    ("cleanup", Reader::cleanup),
    ("socket", Reader::socket),
    ("bind", Reader::bind),
    ("listen", Reader::listen),
    ("accept", Reader::accept),
    ("connect", Reader::connect),
    ("send", Reader::send),
    ("receive", Reader::receive),
    ("shutdown", Reader::shutdown),
    ("close", Reader::close),
    ("address_of", Reader::address_of),
    ("wait", Reader::wait),
    ("cancel", Reader::cancel),
    ("cancel_all", Reader::cancel_all),
    ("kill", Reader::kill),
    ("exit", Reader::exit),
    ("peer_listen", Reader::peer_listen),
    ("peer_accept", Reader::peer_accept),
    ("peer_connect", Reader::peer_connect),
    ("peer_send", Reader::peer_send),
    ("peer_receive", Reader::peer_receive),
    ("peer_shutdown", Reader::peer_shutdown),
    ("peer_close", Reader::peer_close),
    ("peer_reset", Reader::peer_reset),
    ("peer_ends", Reader::peer_ends),
];
const OTHER_VERBS: [&str; 3] = ["ledger", "pending", "repeat"];

fn verbs() -> impl Iterator<Item = &'static str> {
    VERBS.iter().map(|&(name, _)| name).chain(OTHER_VERBS)
}

const PROVIDERS: [(&str, Provider); Provider::ALL.len()] = {
    let mut table = [("", Provider::Application); Provider::ALL.len()];
    let mut index = 0;
    while index < table.len() {
        table[index] = (Provider::ALL[index].name(), Provider::ALL[index]);
        index += 1;
    }
    table
};
const FAMILIES: &[(&str, u16)] = &[("ipv4", AF_INET), ("ipv6", AF_INET6)];

struct Reader {
    names: Names,
    main: String,
}

impl Reader {
    fn steps(&mut self, steps: &DeArray<'_>, problems: &Problems) -> Vec<Step> {
        let mut read = Vec::new();
        for step in steps {
            if let Some(table) = step.get_ref().as_table() {
                read.extend(self.step(Fields::new(table, header(step.span(), table), problems)));
            } else {
                let message = "a step is a table: put it under [[step]]";
                problems.add(Problem::new(step.span(), message, kind_of(step.get_ref())));
            }
        }
        read
    }

    fn step(&mut self, mut fields: Fields<'_>) -> Option<Step> {
        let (verb, span) = one_verb(&fields)?;
        fields.span = span.clone();
        let note = fields.text("note").map(|note| note.value);
        let within = fields.time("within");
        let action = match VERBS.iter().find(|(name, _)| *name == verb) {
            Some(&(name, read)) => fields.text(name).and_then(|value| read(self, &mut fields, value)),
            None if verb == "ledger" => self.ledger(&mut fields),
            None if verb == "pending" => self.pending(&mut fields),
            None => self.repeat(&mut fields),
        };
        // Where a field is wrong, others may not have been read.
        let action = action?;
        fields.finish();
        Some(Step { span, note, within, action })
    }

    /// A name that must be known, under a key or as the verb's value.
    fn known(&self, fields: &Fields<'_>, name: At<String>, allowed: &[What]) -> Option<String> {
        match self.names.check(&name, allowed) {
            Ok(()) => Some(name.value),
            Err(problem) => {
                fields.problems().add(problem);
                None
            }
        }
    }

    fn client(&self, fields: &mut Fields<'_>) -> Option<String> {
        let name = fields.text("client")?;
        self.known(fields, name, &[What::Client])
    }

    /// The name that something new gets.
    fn new_name(&mut self, fields: &mut Fields<'_>, key: &'static str, what: What) -> Option<String> {
        let name = fields.text(key);
        if name.is_none() {
            fields.missing(key, "the new one needs a name");
        }
        let name = name?.value;
        self.names.give(&name, what);
        Some(name)
    }

    fn background(&mut self, fields: &mut Fields<'_>) -> Option<String> {
        let name = fields.text("background")?.value;
        self.names.give(&name, What::Background);
        Some(name)
    }

    /// The end of a request's fields: what must come back, or the name to wait for.
    fn request(&mut self, fields: &mut Fields<'_>, call: Call) -> Action {
        let client = self.client(fields);
        let background = self.background(fields);
        let expected = if background.is_some() { Expected::default() } else { self.expected(fields, &call) };
        Action::Request { client, call, background, expected }
    }

    fn expected(&self, fields: &mut Fields<'_>, call: &Call) -> Expected {
        let mut expected = Expected { statuses: statuses(fields), ..Expected::default() };
        match call {
            Call::Startup { .. } => {
                expected.negotiated = fields.parsed("negotiated", "a version", value::version);
                expected.references = fields.number("references");
            }
            Call::Send { .. } => expected.bytes = fields.number("bytes"),
            Call::Receive { .. } => {
                expected.bytes = fields.number("bytes");
                expected.data = Data::read(fields, "data");
            }
            Call::AddressOf { .. } => expected.is = self.target(fields, "is"),
            _ => {}
        }
        expected
    }

    fn peer(&mut self, fields: &mut Fields<'_>, act: PeerAct) -> Action {
        let background = self.background(fields);
        let mut expected = Expected::default();
        if background.is_none()
            && let PeerAct::Receive { .. } = act
        {
            expected.bytes = fields.number("bytes");
            expected.data = Data::read(fields, "data");
        }
        Action::Peer { act, background, expected }
    }

    /// A listener by name, or an address.
    fn target(&self, fields: &mut Fields<'_>, key: &'static str) -> Option<Target> {
        let text = fields.text(key)?;
        if let Ok(address) = value::address(&text.value) {
            return Some(Target::Address(address));
        }
        self.known(fields, text, &[What::Socket, What::PeerListener, What::Peer]).map(Target::Named)
    }

    fn to(&self, fields: &mut Fields<'_>) -> Option<Target> {
        if fields.value("to").is_none() {
            fields.missing("to", "it names a listener, or is an address such as \"127.0.0.1:80\"");
        }
        self.target(fields, "to")
    }

    fn startup(&mut self, fields: &mut Fields<'_>, _: At<String>) -> Option<Action> {
        let provider = fields.word("startup", &PROVIDERS)?;
        let version = fields.parsed("version", "a version", value::version).unwrap_or(HIGHEST_VERSION);
        let default = if provider == Provider::Transport { CATALOG.first().map_or(0, |entry| entry.id) } else { 0 };
        let guid = guid_of(fields, provider);
        let catalog_id = fields.number("catalog_id").unwrap_or(default);
        Some(self.request(fields, Call::Startup { provider, version, catalog_id, guid }))
    }

    fn cleanup(&mut self, fields: &mut Fields<'_>, _: At<String>) -> Option<Action> {
        let provider = fields.word("cleanup", &PROVIDERS)?;
        let guid = guid_of(fields, provider);
        Some(self.request(fields, Call::Cleanup { provider, guid }))
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of the verbs, most of which can be misused")]
    fn socket(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        const ROLES: &[(&str, Role)] = &[("connection", Role::Connection), ("listen", Role::Listen)];
        let provider = fields.word("provider", &PROVIDERS).unwrap_or(Provider::Application);
        let role = fields.word("role", ROLES).unwrap_or(Role::Connection);
        let family = fields.word("family", FAMILIES).unwrap_or(AF_INET);
        self.names.give(&name.value, What::Socket);
        Some(self.request(fields, Call::Socket { name: name.value, provider, role, family }))
    }

    fn bind(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let address = fields.parsed("address", "an address", value::address);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Bind { socket: socket?, address }))
    }

    fn listen(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let backlog = fields.number("backlog").unwrap_or(16);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Listen { socket: socket?, backlog }))
    }

    fn accept(&mut self, fields: &mut Fields<'_>, listener: At<String>) -> Option<Action> {
        let socket = self.known(fields, listener, &[What::Socket]);
        // Which ends otherwise than well makes no socket, and needs no name for one.
        let name = fields.text("as").map(|name| name.value).unwrap_or_default();
        self.names.give(&name, What::Socket);
        Some(self.request(fields, Call::Accept { socket: socket?, name }))
    }

    fn connect(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let to = self.to(fields);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Connect { socket: socket?, to: to? }))
    }

    fn send(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        if fields.value("data").is_none() {
            fields.missing("data", "what is sent");
        }
        let data = Data::read(fields, "data");
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Send { socket: socket?, data: data? }))
    }

    fn receive(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let length = fields.number("length").unwrap_or(65536);
        let all = fields.flag("all").unwrap_or_default();
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Receive { socket: socket?, length, all }))
    }

    fn shutdown(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let how = fields.word("how", &[("send", Shutdown::SEND), ("abort", Shutdown::ABORT)]);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Shutdown { socket: socket?, how: how.unwrap_or(Shutdown::SEND) }))
    }

    fn close(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let time = fields.time("linger").map(Linger::For);
        let graceful = fields.flag("graceful").unwrap_or_default().then_some(Linger::Default);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::Close { socket: socket?, linger: time.or(graceful) }))
    }

    fn address_of(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let end = fields.word("end", &[("local", AddressOf::LOCAL), ("peer", AddressOf::PEER)]);
        let socket = self.known(fields, name, &[What::Socket]);
        Some(self.request(fields, Call::AddressOf { socket: socket?, end: end.unwrap_or(AddressOf::LOCAL) }))
    }

    fn wait(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let expected = Expected {
            statuses: statuses(fields),
            bytes: fields.number("bytes"),
            data: Data::read(fields, "data"),
            negotiated: fields.parsed("negotiated", "a version", value::version),
            references: fields.number("references"),
            is: self.target(fields, "is"),
        };
        let name = self.known(fields, name, &[What::Background])?;
        Some(Action::Wait { name, expected })
    }

    fn cancel(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        self.known(fields, name, &[What::Background]).map(|name| Action::Cancel { name })
    }

    fn cancel_all(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        self.known(fields, name, &[What::Client]).map(|client| Action::CancelAll { client })
    }

    fn kill(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        self.known(fields, name, &[What::Client]).map(|client| Action::Kill { client })
    }

    fn exit(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        self.known(fields, name, &[What::Client]).map(|client| Action::Exit { client })
    }

    fn pending(&mut self, fields: &mut Fields<'_>) -> Option<Action> {
        let watch = fields.time("for").unwrap_or_default();
        let names = fields.texts("pending")?;
        let names = names.into_iter().filter_map(|name| self.known(fields, name, &[What::Background])).collect();
        Some(Action::Pending { names, watch })
    }

    fn ledger(&mut self, fields: &mut Fields<'_>) -> Option<Action> {
        let client = self.client(fields);
        let table = fields.table("ledger", "a table of figures, such as { references.application = 1 }")?;
        let mut expected = Vec::new();
        figures(table.value, &mut Vec::new(), &mut expected, fields.problems());
        Some(Action::Ledger { client: client.unwrap_or_else(|| self.main.clone()), expected })
    }

    fn repeat(&mut self, fields: &mut Fields<'_>) -> Option<Action> {
        let times = fields.number("repeat");
        let steps = fields.array("steps", "steps, each under [[step.steps]]");
        if steps.is_none() {
            fields.missing("steps", "what is repeated, under [[step.steps]]");
        }
        let steps = self.steps(steps?, fields.problems());
        Some(Action::Repeat { times: times?, steps })
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of the verbs, most of which can be misused")]
    fn peer_listen(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let family = fields.word("family", FAMILIES).unwrap_or(AF_INET);
        self.names.give(&name.value, What::PeerListener);
        Some(self.peer(fields, PeerAct::Listen { name: name.value, family }))
    }

    fn peer_accept(&mut self, fields: &mut Fields<'_>, listener: At<String>) -> Option<Action> {
        let listener = self.known(fields, listener, &[What::PeerListener]);
        let name = self.new_name(fields, "as", What::Peer)?;
        Some(self.peer(fields, PeerAct::Accept { listener: listener?, name }))
    }

    fn peer_connect(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let to = self.to(fields)?;
        let refused = fields.flag("refused").unwrap_or_default();
        self.names.give(&name.value, What::Peer);
        Some(self.peer(fields, PeerAct::Connect { name: name.value, to, refused }))
    }

    fn peer_send(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        if fields.value("data").is_none() {
            fields.missing("data", "what is sent");
        }
        let data = Data::read(fields, "data");
        let peer = self.known(fields, name, &[What::Peer]);
        Some(self.peer(fields, PeerAct::Send { peer: peer?, data: data? }))
    }

    fn peer_receive(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let length = fields.number("length");
        let peer = self.known(fields, name, &[What::Peer]);
        Some(self.peer(fields, PeerAct::Receive { peer: peer?, length }))
    }

    fn peer_shutdown(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let peer = self.known(fields, name, &[What::Peer])?;
        Some(self.peer(fields, PeerAct::Shutdown { peer }))
    }

    fn peer_close(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let peer = self.known(fields, name, &[What::Peer])?;
        Some(self.peer(fields, PeerAct::Close { peer }))
    }

    fn peer_reset(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let peer = self.known(fields, name, &[What::Peer])?;
        Some(self.peer(fields, PeerAct::Reset { peer }))
    }

    fn peer_ends(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        const HOW: &[(&str, Ends)] =
            &[("reset", Ends::Reset), ("end_of_stream", Ends::EndOfStream), ("any", Ends::Any)];
        let how = fields.word("how", HOW).unwrap_or(Ends::Any);
        let peer = self.known(fields, name, &[What::Peer])?;
        Some(self.peer(fields, PeerAct::Ends { peer, how }))
    }
}

fn statuses(fields: &mut Fields<'_>) -> Statuses {
    Statuses::read(fields).unwrap_or_else(Statuses::success)
}

/// Which namespace provider: by name or GUID.
fn guid_of(fields: &mut Fields<'_>, provider: Provider) -> Guid {
    if provider != Provider::Namespace {
        return Guid::NIL;
    }
    fields.parsed("guid", "`dns`, `numeric` or a GUID", value::guid).unwrap_or_else(|| Namespace::Dns.guid())
}

/// Where a step begins: its first key, as the table's own place is of no use in an excerpt.
fn header(span: Range<usize>, table: &DeTable<'_>) -> Range<usize> {
    table.keys().map(toml::Spanned::span).min_by_key(|key| key.start).unwrap_or(span)
}

/// The one thing that a step does, and where that stands.
fn one_verb(fields: &Fields<'_>) -> Option<(&'static str, Range<usize>)> {
    let found: Vec<_> =
        verbs().filter_map(|verb| fields.keys().find(|key| key.value == verb).map(|key| (verb, key.span))).collect();
    match found.as_slice() {
        [(verb, span)] => Some((verb, span.clone())),
        [] => {
            let first = fields.keys().min_by_key(|key| key.span.start);
            let (word, span) = first.map_or(("", fields.span.clone()), |key| (key.value, key.span));
            let near = fields.keys().find_map(|key| {
                suggestion(key.value, verbs()).filter(|help| help.starts_with("did")).map(|help| (key.span, help))
            });
            let (span, help) = match near {
                Some((span, help)) => (span, Some(help)),
                None => (span, suggestion(word, verbs())),
            };
            let message = "this step does nothing: it has no verb";
            fields.problems().add(Problem::new(span, message, "no verb").help(help));
            None
        }
        [(first, _), (second, span), ..] => {
            let message = format!("a step does one thing: this one has `{first}` and `{second}`");
            let help = "give each its own [[step]]".to_owned();
            fields.problems().add(Problem::new(span.clone(), message, "one too many").help(Some(help)));
            None
        }
    }
}

/// The figures in a table of the ledger, each checked to be one that the ledger has.
fn figures(table: &DeTable<'_>, path: &mut Vec<String>, found: &mut Vec<Figure>, problems: &Problems) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        if let Some(unknown) = ledger::unknown(path) {
            let message = format!("the ledger has no `{}`", path.join("."));
            problems.add(Problem::new(key.span(), message, "unknown figure").help(unknown.help));
        } else if let Some(table) = value.get_ref().as_table() {
            figures(table, path, found, problems);
        } else {
            let figure = value.get_ref().as_bool().map(Into::into).or_else(|| integer(value.get_ref()).map(Into::into));
            match figure {
                Some(figure) if ledger::is_figure(path) => {
                    found.push(Figure { path: path.clone(), value: At::new(figure, value.span()) });
                }
                _ => {
                    let message = format!("`{}` takes {}", path.join("."), ledger::takes(path));
                    problems.add(Problem::new(value.span(), message, kind_of(value.get_ref())));
                }
            }
        }
        path.pop();
    }
}
