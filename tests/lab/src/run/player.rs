//! Plays a scenario on a machine, and tells where something else came back than was expected.

use std::{collections::HashMap, fmt::Write, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use ntlab::{Completion, Handle, Machine, NtStatus, Process, Request};

use super::scenario::{Step, Verb};

/// The process and the handle of steps that name none.
const DEFAULT: &str = "default";

/// What a scenario has opened and sent so far.
pub struct Player<'a> {
    machine: &'a Machine,
    timeout: Duration,
    /// Whether what comes back is compared: not when allocations fail on purpose.
    strict: bool,
    processes: HashMap<String, Process>,
    handles: HashMap<String, Handle>,
    requests: HashMap<String, Request>,
    /// Steps that were played.
    pub played: u64,
}

impl<'a> Player<'a> {
    /// Waits at most `timeout` for a completion unless the step says otherwise.
    pub fn new(machine: &'a Machine, timeout: Duration, strict: bool) -> Self {
        Self {
            machine,
            timeout,
            strict,
            processes: HashMap::new(),
            handles: HashMap::new(),
            requests: HashMap::new(),
            played: 0,
        }
    }

    /// Plays the steps until one fails.
    pub fn play(&mut self, steps: &[Step]) -> Result<()> {
        for (index, step) in steps.iter().enumerate() {
            if !self.machine.violations().is_empty() {
                bail!("the machine stopped before step {}", index + 1);
            }
            self.played += 1;
            let outcome = self.step(step);
            if self.strict {
                outcome.with_context(|| format!("step {}", index + 1))?;
            }
        }
        Ok(())
    }

    /// Opens and closes every device by name: what is done without a scenario.
    pub fn open_all(&mut self, names: &[String]) -> Result<()> {
        for name in names {
            self.played += 1;
            let process = self.process(None);
            match process.open(name) {
                Ok(handle) => ensure!(handle.close() == NtStatus::SUCCESS, "{name} could not be closed"),
                Err(status) if self.strict => bail!("{name} could not be opened: {status:?}"),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Ends the processes that are left.
    pub fn end(&mut self) {
        for (_, process) in self.processes.drain() {
            process.exit();
        }
    }

    fn process(&mut self, name: Option<&str>) -> Process {
        let machine = self.machine;
        self.processes.entry(name.unwrap_or(DEFAULT).to_owned()).or_insert_with(|| machine.process()).clone()
    }

    fn handle(&self, step: &Step) -> Result<&Handle> {
        let name = step.handle.as_deref().unwrap_or(DEFAULT);
        self.handles.get(name).with_context(|| format!("no handle `{name}` is open"))
    }

    fn request(&self, name: &str) -> Result<&Request> {
        self.requests.get(name).with_context(|| format!("there is no request `{name}`"))
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step.verb()? {
            Verb::Open { name } => self.open(step, name),
            Verb::Ioctl { code, input, output } => {
                let request = self.handle(step)?.ioctl(code, &input, output);
                self.sent(step, request)
            }
            Verb::Read { length } => {
                let request = self.handle(step)?.read(length, step.offset);
                self.sent(step, request)
            }
            Verb::Write { data } => {
                let request = self.handle(step)?.write(&data, step.offset);
                self.sent(step, request)
            }
            Verb::Wait { request } => {
                let outcome = self.judge(step, self.request(request)?);
                self.requests.remove(request);
                outcome
            }
            Verb::Cancel { request } => {
                // What it comes to is for a `wait` to say; that it was completed already is no error.
                let _ = self.request(request)?.cancel();
                Ok(())
            }
            Verb::Close { handle } => {
                let handle = self.handles.remove(handle).with_context(|| format!("no handle `{handle}` is open"))?;
                let status = handle.close();
                ensure!(status == NtStatus::SUCCESS, "the handle could not be closed: {status:?}");
                Ok(())
            }
            Verb::Exit { process } => {
                self.processes.remove(process).with_context(|| format!("there is no process `{process}`"))?.exit();
                Ok(())
            }
            Verb::Sleep { milliseconds } => {
                std::thread::sleep(Duration::from_millis(milliseconds));
                Ok(())
            }
            Verb::Repeat { times, steps } => {
                (1..=times).try_for_each(|round| self.play(steps).with_context(|| format!("round {round}")))
            }
        }
    }

    fn open(&mut self, step: &Step, name: &str) -> Result<()> {
        let opened = self.process(step.process.as_deref()).open(name);
        let status = *opened.as_ref().err().unwrap_or(&NtStatus::SUCCESS);
        if let Ok(handle) = opened {
            self.handles.insert(step.handle.as_deref().unwrap_or(DEFAULT).to_owned(), handle);
        }
        match step.status()? {
            Some(expected) if expected != status => bail!("open of {name}: {status:?}; {expected:?} was expected"),
            _ => Ok(()),
        }
    }

    /// A request with a name is awaited by a step of its own.
    fn sent(&mut self, step: &Step, request: Request) -> Result<()> {
        if let Some(pending) = step.pending {
            let is_pending = !request.is_complete();
            ensure!(
                !self.strict || is_pending == pending,
                "the request is {}; the contrary was expected",
                if is_pending { "pending" } else { "completed" }
            );
        }
        match &step.request {
            Some(name) => {
                self.requests.insert(name.clone(), request);
                Ok(())
            }
            None => self.judge(step, &request),
        }
    }

    /// Waits for the request and compares what came back with what was expected.
    fn judge(&self, step: &Step, request: &Request) -> Result<()> {
        let timeout = step.timeout_ms.map_or(self.timeout, Duration::from_millis);
        let Some(completion) = request.wait(timeout) else {
            ensure!(self.machine.violations().is_empty(), "a rule was broken");
            // It is not left behind: a process cancels what it no longer waits for.
            let _ = request.cancel();
            bail!("the request is not completed after {} ms", timeout.as_millis());
        };
        compare(step, &completion)
    }
}

fn compare(step: &Step, completion: &Completion) -> Result<()> {
    let mut differences = String::new();
    if let Some(status) = step.status()?
        && status != completion.status
    {
        write!(differences, "; status {:?}, not {status:?}", completion.status)?;
    }
    if let Some(information) = step.information
        && information != completion.information
    {
        write!(differences, "; information {}, not {information}", completion.information)?;
    }
    if let Some(output) = step.output()?
        && output != completion.output
    {
        write!(differences, "; output {}, not {}", shown(&completion.output), shown(&output))?;
    }
    ensure!(differences.is_empty(), "the request came to something else{differences}");
    Ok(())
}

/// The first bytes, hexadecimal, and as text if they are one.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 64;
    let start = &bytes[..bytes.len().min(MOST)];
    let hex: Vec<String> = start.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = match std::str::from_utf8(start) {
        Ok(text) if !text.is_empty() && !text.contains(char::is_control) => format!(" ({text:?})"),
        _ => String::new(),
    };
    format!("{} bytes [{}{}]{text}", bytes.len(), hex.join(" "), if bytes.len() > MOST { " ..." } else { "" })
}
