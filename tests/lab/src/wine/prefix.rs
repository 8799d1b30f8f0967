//! A Wine prefix of our own, with its server as our child: made afresh, and gone without a trace when it is dropped.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    command::bounded::{Running, wait_for},
    setup::Tools,
};

/// Making a prefix writes some hundreds of files.
const CREATION: Duration = Duration::from_mins(3);
/// For what takes a fraction of a second.
const SHORT: Duration = Duration::from_mins(1);

/// A running Wine session in its own prefix.
pub struct Prefix<'a> {
    tools: &'a Tools,
    path: PathBuf,
    debug: &'a str,
    programs: usize,
    /// The processor that everything runs on.
    processor: String,
    /// The log of the program that started the session's services, which inherit it.
    services: Option<PathBuf>,
}

impl<'a> Prefix<'a> {
    /// Makes a prefix at `path`, instead of what is there, and starts its server. `debug` is Wine's `WINEDEBUG`.
    pub fn create(tools: &'a Tools, path: &Path, debug: &'a str) -> Result<Self> {
        let processor = first_processor()?;
        let mut prefix = Self { tools, path: path.to_owned(), debug, programs: 0, processor, services: None };
        // A run that was killed itself has left its session behind.
        prefix.end()?;
        if path.exists() {
            fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        prefix.start_server()?;
        prefix.run("wineboot", &["--init"], CREATION)?;
        // The session that makes the prefix starts services before they are all written: begin a second one.
        prefix.end()?;
        prefix.start_server()?;
        prefix.services = None;
        Ok(prefix)
    }

    /// A file or folder of drive C.
    pub fn drive_c(&self, path: &str) -> PathBuf {
        self.path.join("drive_c").join(path)
    }

    /// Starts a Windows program. Its process is the program itself, so killing it kills the Windows process.
    pub fn start(&mut self, program: &str, arguments: &[&str]) -> Result<Running> {
        self.start_with(program, arguments, b"", &[])
    }

    /// Starts a Windows program with `input` on its standard input, and more in its environment.
    pub fn start_with(
        &mut self,
        program: &str,
        arguments: &[&str],
        input: &[u8],
        environment: &[(&str, &str)],
    ) -> Result<Running> {
        self.programs += 1;
        let stem = program.rsplit(['\\', '/']).next().unwrap_or(program).trim_end_matches(".exe");
        let name = format!("{:02}-{stem}", self.programs);
        self.services.get_or_insert_with(|| self.path.join("log").join(&name).with_extension("err"));
        let mut command = self.environment(&self.tools.wine);
        command.arg(program).args(arguments).envs(environment.iter().copied());
        Running::start_with_input(&name, &mut command, input, &self.logs())
    }

    /// Runs a Windows program to its end and gives what it wrote.
    pub fn run(&mut self, program: &str, arguments: &[&str], limit: Duration) -> Result<String> {
        let shown = format!("{program} {}", arguments.join(" "));
        self.start(program, arguments)?.finish(limit).with_context(|| format!("`{shown}` in Wine"))
    }

    /// What the session's services have complained about last: the service control manager, and the processes that drivers run in.
    pub fn services_complaint(&self) -> String {
        let text = self.services.as_ref().map(fs::read).and_then(Result::ok).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        format!("on standard error of Wine's services:\n  {}\n", lines[lines.len().saturating_sub(8)..].join("\n  "))
    }

    fn logs(&self) -> PathBuf {
        self.path.join("log")
    }

    /// A command of Wine's in this prefix: no display, no offers to download anything, no menus; on one processor, as a batch task.
    ///
    /// The latter because stock Wine's WSK can use a socket that it has freed. When one is closed with a request pending, the request is
    /// cancelled, and a thread of Wine's pool that learns of it in between still runs the request's callback (`wsk_close_socket` and
    /// `send_receive_callback` of Wine's netio.sys; `SetThreadpoolWait`). The process that the driver runs in dies of that: seen once in
    /// some 400 closes of a socket with three receives on two busy processors, and never in 4,000 on one, where a thread that wakes up
    /// interrupts nobody.
    fn environment(&self, program: &Path) -> Command {
        let mut command = Command::new("chrt");
        command
            .args(["--batch", "0", "taskset", "--cpu-list", &self.processor])
            .arg(program)
            .env("WINEPREFIX", &self.path)
            .env("WINEARCH", "win64")
            .env("WINEDEBUG", self.debug)
            .env("WINEDLLOVERRIDES", "mscoree,mshtml,winemenubuilder.exe=")
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY");
        command
    }

    /// Starts the server, and returns when it is ready. It stays when the last program ends, so that the driver does too.
    fn start_server(&self) -> Result<()> {
        self.wineserver("wineserver", "-p")
    }

    /// Ends the session: the server ends its programs, and then itself.
    fn end(&self) -> Result<()> {
        if !self.processes()?.is_empty() {
            self.wineserver("wineserver-k", "-k")?;
        }
        wait_for("the end of the prefix's last process", SHORT, || Ok(self.processes()?.is_empty().then_some(())))?;
        self.remove_server_folder();
        Ok(())
    }

    fn wineserver(&self, name: &str, option: &str) -> Result<()> {
        Running::start(name, self.environment(&self.tools.wineserver).arg(option), &self.logs())?.finish(SHORT)?;
        Ok(())
    }

    /// Debian's Wine gives each prefix a folder for the server's socket, names it in the prefix, and never removes it.
    fn remove_server_folder(&self) {
        let name = fs::read_to_string(self.path.join("wineserver")).unwrap_or_default();
        let is_wines = name.strip_prefix("wine-").is_some_and(|tail| tail.chars().all(char::is_alphanumeric));
        if is_wines {
            // It is litter at worst.
            let _ = fs::remove_dir_all(env::temp_dir().join(name));
        }
    }

    /// Ends the session and makes sure that nothing of it is left.
    pub fn close(self) -> Result<()> {
        self.end()?;
        let left = self.processes()?;
        ensure!(left.is_empty(), "processes {left:?} of the Wine prefix are still there");
        Ok(())
    }

    /// The ids of Wine's processes whose environment names this prefix. Only Wine's, because somebody may have set
    /// `WINEPREFIX` in a shell, to look around in it.
    fn processes(&self) -> Result<Vec<u32>> {
        let wanted = [b"WINEPREFIX=", self.path.as_os_str().as_encoded_bytes()].concat();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").context("cannot list processes")? {
            let Ok(entry) = entry else { continue };
            let is_wine = fs::read_link(entry.path().join("exe")).is_ok_and(|program| {
                program.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"wine"))
            });
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process that has just ended has no environment any more, nor has one of somebody else's.
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if is_wine && environment.split(|byte| *byte == 0).any(|variable| variable == wanted) {
                found.push(id);
            }
        }
        Ok(found)
    }
}

/// The first processor that this process may use.
fn first_processor() -> Result<String> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read this process's status")?;
    first_of(&status).context("the system does not tell which processors may be used")
}

fn first_of(status: &str) -> Option<String> {
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let first: String = allowed.trim().chars().take_while(char::is_ascii_digit).collect();
    (!first.is_empty()).then_some(first)
}

impl Drop for Prefix<'_> {
    /// The way out of a failure: what does not end when asked is killed, by its id.
    fn drop(&mut self) {
        if self.processes().is_ok_and(|processes| processes.is_empty()) {
            return;
        }
        let _ = self.environment(&self.tools.wineserver).arg("-k").status();
        for id in self.processes().unwrap_or_default() {
            // It may have ended meanwhile.
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        }
        self.remove_server_folder();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_processor_is_one_that_the_process_may_use() {
        let first = |list| first_of(&format!("Name:\tlab\nCpus_allowed_list:\t{list}\nMems_allowed:\t1\n"));
        assert_eq!(first("0-1").as_deref(), Some("0"));
        assert_eq!(first("12,14-15").as_deref(), Some("12"));
        assert_eq!((first(""), first_of("Name:\tlab\n")), (None, None));
    }
}
