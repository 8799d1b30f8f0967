//! From a file's text to a scenario: everything that can be known to be wrong before it runs is told, all at once.

mod expected;
mod peers;
mod requests;

use super::{
    fields::{At, Fields, Problems, integer, kind_of},
    ledger,
    names::{Names, What},
    problem::{Problem, Source, suggestion},
    step::{Action, Figure, Scenario, Step, Target},
    value::{self, Data},
};
use crate::backend::Feature;
use std::{collections::HashMap, ops::Range, time::Duration};
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
    let main = clients.first().cloned().unwrap_or_default();
    let mut reader = Reader { names: Names::default(), answers: HashMap::new(), main };
    for client in &clients {
        reader.names.give(client, What::Client);
    }
    let steps = fields.array("step", "steps, each under [[step]]");
    if steps.is_none_or(|steps| steps.is_empty()) {
        fields.missing("step", "a scenario has steps, each under [[step]]");
    }
    let steps = steps.map(|steps| reader.steps(steps, problems));
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
    ("send_to", Reader::send_to),
    ("receive_from", Reader::receive_from),
    ("set_option", Reader::set_option),
    ("get_option", Reader::get_option),
    ("events", Reader::events),
    ("resolve", Reader::resolve),
    ("names_of", Reader::names_of),
    ("cancel_blocking", Reader::cancel_blocking),
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
    ("peer_socket", Reader::peer_socket),
    ("peer_send_to", Reader::peer_send_to),
    ("peer_receive_from", Reader::peer_receive_from),
];
const OTHER_VERBS: [&str; 3] = ["ledger", "pending", "repeat"];

fn verbs() -> impl Iterator<Item = &'static str> {
    VERBS.iter().map(|&(name, _)| name).chain(OTHER_VERBS)
}

struct Reader {
    names: Names,
    /// What can be expected of that which runs in the background, by its name.
    answers: HashMap<String, &'static [&'static str]>,
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

    /// The name under which it runs in the background; a `wait` for it can expect these answers.
    fn background(&mut self, fields: &mut Fields<'_>, answers: &'static [&'static str]) -> Option<String> {
        let name = fields.text("background")?.value;
        self.names.give(&name, What::Background);
        self.answers.insert(name.clone(), answers);
        Some(name)
    }

    fn data_to_send(fields: &mut Fields<'_>) -> Option<Data> {
        if fields.value("data").is_none() {
            fields.missing("data", "what is sent");
        }
        Data::read(fields, "data")
    }

    /// A socket or a peer by name, or an address.
    fn target(&self, fields: &mut Fields<'_>, key: &'static str) -> Option<Target> {
        let text = fields.text(key)?;
        if let Ok(address) = value::address(&text.value) {
            return Some(Target::Address(address));
        }
        self.known(fields, text, &[What::Socket, What::PeerListener, What::Peer, What::PeerSocket]).map(Target::Named)
    }

    fn to(&self, fields: &mut Fields<'_>) -> Option<Target> {
        if fields.value("to").is_none() {
            fields.missing("to", "it names who listens, or is an address such as \"127.0.0.1:80\"");
        }
        self.target(fields, "to")
    }

    fn wait(&mut self, fields: &mut Fields<'_>, name: At<String>) -> Option<Action> {
        let answers = self.answers.get(&name.value).copied().unwrap_or_default();
        let expected = self.expected(fields, answers);
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

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = include_str!("../../scenarios/README.md");

    #[test]
    fn every_verb_answer_and_feature_is_described() {
        for verb in verbs() {
            let described = ["` ", "`,", " ="].iter().any(|after| README.contains(&format!("`{verb}{after}")));
            assert!(described, "the verb {verb}");
        }
        for answer in [
            "status",
            "bytes",
            "data",
            "negotiated",
            "references",
            "is",
            "from",
            "truncated",
            "value",
            "told",
            "code",
            "addresses",
            "name",
            "service",
        ] {
            assert!(README.contains(&format!("`{answer}`")), "the answer {answer}");
        }
        assert!(Feature::ALL.iter().all(|(name, _)| README.contains(&format!("`{name}`"))));
    }

    #[test]
    fn a_file_whose_steps_are_all_wrong_is_told_of_them_and_not_that_it_has_none() {
        let text = "title = \"x\"\n[[step]]\nstartup = \"aplication\"\n".to_owned();
        let (_, problems) = parse(Source { name: "x.toml".into(), text }).expect_err("it is wrong");
        let told: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(told, ["`startup` can't be `aplication`"]);
    }

    #[test]
    fn a_time_that_no_clock_has_is_told() {
        for time in ["99999999999y", "25h", "soon", "-1s"] {
            let text = format!("title = \"x\"\nwithin = \"{time}\"\n[[step]]\nstartup = \"application\"\n");
            let (_, problems) = parse(Source { name: "x.toml".into(), text }).expect_err("it is wrong");
            assert!(problems[0].message.starts_with("`within` takes a time"), "{time}");
        }
    }

    #[test]
    fn a_wait_takes_what_can_come_of_what_it_waits_for_and_nothing_else() {
        let text = |answer: &str| {
            format!(
                "title = \"x\"\n[[step]]\nsocket = \"a\"\n[[step]]\naccept = \"a\"\nas = \"b\"\nbackground = \"w\"\n\
                 [[step]]\nwait = \"w\"\n{answer}\n"
            )
        };
        let read = |answer: &str| parse(Source { name: "x.toml".into(), text: text(answer) });
        assert!(read("status = \"any\"").is_ok());
        for answer in ["data = \"x\"", "bytes = 0", "negotiated = \"2.2\"", "told = \"read\""] {
            let (_, problems) = read(answer).expect_err("an accept has no such answer");
            assert_eq!(problems[0].label, "unknown key", "{answer}");
        }
    }
}
