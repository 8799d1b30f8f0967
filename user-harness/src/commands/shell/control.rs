//! The commands about what was requested: jobs, sockets, the ledger, help.

use super::{
    Shell, Told,
    jobs::Then,
    words::{COMMANDS, Words, command},
};
use crate::{Error, commands::status::show_status, inbox::Wake, output::Table};

const AFTER: &str =
    "A `&` at the end leaves the request to the background. SOCKET is s1, s2, ...; without one the newest is meant.";

impl Shell<'_> {
    pub(super) fn leave(&mut self, words: Words<'_>) -> Result<(), Error> {
        words.end_at_once()?;
        self.leaving = true;
        Ok(())
    }

    pub(super) fn list_sockets(&mut self, words: Words<'_>) -> Result<(), Error> {
        words.end_at_once()?;
        for (number, named) in &self.sockets {
            self.output.emit(&Told::Socket { socket: format!("s{number}"), about: named.about.clone() })?;
        }
        Ok(())
    }

    pub(super) fn list_jobs(&mut self, words: Words<'_>) -> Result<(), Error> {
        words.end_at_once()?;
        for (&job, running) in &self.jobs {
            let state = if running.operation.is_complete() { "ended" } else { "pending" };
            self.output.emit(&Told::Job { job, what: running.operation.what().into(), state })?;
        }
        Ok(())
    }

    /// The job that a word names; none if it has ended and was told of.
    fn job(&self, words: &Words<'_>, word: &str) -> Result<Option<u32>, Error> {
        let number = word.trim_matches(['[', ']', '%']).parse().ok();
        if let Some(number) = number.filter(|number| (1..self.next_job).contains(number)) {
            return Ok(self.jobs.contains_key(&number).then_some(number));
        }
        let known: Vec<_> = self.jobs.keys().map(u32::to_string).collect();
        let there_is = if known.is_empty() { "there is none".into() } else { format!("there is {}", known.join(", ")) };
        Err(words.wrong(format!("no job is called `{word}`; {there_is}")))
    }

    pub(super) fn wait(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let numbers: Vec<_> = match words.next() {
            None => self.jobs.keys().copied().collect(),
            Some(word) => self.job(&words, word)?.into_iter().collect(),
        };
        words.end_at_once()?;
        self.wait_for_all(&numbers)
    }

    fn wait_for_all(&mut self, numbers: &[u32]) -> Result<(), Error> {
        for &number in numbers {
            if !self.wait_for(number)? {
                break;
            }
        }
        Ok(())
    }

    /// Waits for a job; Ctrl-C ends the waiting, not the job.
    fn wait_for(&mut self, number: u32) -> Result<bool, Error> {
        while self.jobs.get(&number).is_some_and(|job| !job.operation.is_complete()) {
            if let Wake::Interrupt = self.inbox.wait(self.backend)? {
                self.interrupt.reset();
                return Ok(false);
            }
        }
        self.conclude_job(number).map(|()| true)
    }

    pub(super) fn cancel(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let word = words.needed("a job, `all` or `blocking`")?;
        if word == "blocking" {
            let background = words.end()?;
            return self.do_request(self.client.begin_cancel_blocking(), Then::Nothing, background);
        }
        let numbers: Vec<_> = match word {
            "all" => self.jobs.keys().copied().collect(),
            word => self.job(&words, word)?.into_iter().collect(),
        };
        words.end_at_once()?;
        for number in &numbers {
            if let Some(job) = self.jobs.get(number) {
                job.operation.cancel();
            }
        }
        if !self.backend.cancels_reach_requests() {
            return self.output.text("asked for; this system's WSK ends a request only when its socket is closed");
        }
        self.wait_for_all(&numbers)
    }

    pub(super) fn ledger(&mut self, words: Words<'_>) -> Result<(), Error> {
        words.end_at_once()?;
        show_status(&self.client, self.choice, self.output)
    }

    pub(super) fn help(&mut self, mut words: Words<'_>) -> Result<(), Error> {
        let only = words.next();
        let known = only.map(|only| command(only).ok_or_else(|| words.wrong(format!("there is no `{only}`"))));
        let known = known.transpose()?;
        words.end_at_once()?;
        let mut table = Table::new(&["type", "what it does"], &[]);
        for command in COMMANDS.iter().filter(|command| known.is_none_or(|known| known.name == command.name)) {
            table.row([format!("{} {}", command.name, command.takes), command.does.to_owned()]);
        }
        self.output.text(&format!("{}\n{AFTER}", table.text(0)))
    }
}
