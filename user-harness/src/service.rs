//! The driver as a service of Windows: installed from its INF, started, stopped, removed; and Driver Verifier's settings for it.
//!
//! One idea: what Windows' own programs do is left to them (`pnputil`, `verifier`). A [`Step`] is one such program with its arguments;
//! which steps a command takes is decided by pure functions, and so is tested on any system. The service control manager is asked by
//! [`Service`](control::Service).
//! **On Windows none of this was run**: install, start, stop and uninstall are for Windows and Wine, the verifier is for Windows.

pub(crate) mod control;

use crate::{Cause, Error, Exit};
use std::process::{Child, Command, Stdio};

/// The driver's service.
#[cfg(windows)]
const SERVICE: &str = "WskClient";
/// The driver's image.
pub(crate) const IMAGE: &str = "wskclient.sys";
/// The driver's INF.
pub(crate) const INF: &str = "wskclient.inf";

/// `ERROR_SERVICE_DOES_NOT_EXIST`.
#[cfg(not(windows))]
const NO_SUCH_SERVICE: i32 = 1060;
/// `ERROR_SERVICE_NOT_ACTIVE`.
pub(crate) const DOES_NOT_RUN: i32 = 1062;
/// Runs a function of a DLL: in Wine, those of `SetupAPI`.
const RUNDLL: &str = "rundll32.exe";

/// One program that is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub program: &'static str,
    pub arguments: Vec<String>,
    /// Exit codes that mean that it worked.
    pub good: &'static [i32],
}

/// Where the programs run: Wine has no driver store, and takes the INF as a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    #[cfg_attr(all(not(windows), not(test)), expect(dead_code, reason = "there is Windows on Windows only"))]
    Windows,
    Wine,
}

fn step(program: &'static str, arguments: &[&str], good: &'static [i32]) -> Step {
    Step { program, arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(), good }
}

/// `ERROR_SUCCESS_REBOOT_REQUIRED`: done, and a restart is wanted, of which a driver without a device has no need.
const DONE_OR_RESTART: &[i32] = &[0, 3010];

/// Installs from an INF.
pub(crate) fn install(system: System, inf: &str) -> Step {
    match system {
        System::Windows => step("pnputil.exe", &["/add-driver", inf, "/install"], DONE_OR_RESTART),
        System::Wine => step(RUNDLL, &["setupapi,InstallHinfSection", "DefaultInstall", "128", inf], &[0]),
    }
}

/// Removes what was installed: by the name that the driver store gave the INF, or in Wine by the INF itself.
pub(crate) fn uninstall(system: System, inf: &str) -> Step {
    match system {
        System::Windows => step("pnputil.exe", &["/delete-driver", inf, "/uninstall"], DONE_OR_RESTART),
        System::Wine => step(RUNDLL, &["setupapi,InstallHinfSection", "DefaultUninstall", "128", inf], &[0]),
    }
}

/// Lists the driver store.
pub(crate) fn list_store() -> Step {
    step("pnputil.exe", &["/enum-drivers"], &[0])
}

/// The name that the driver store gave our INF, from `pnputil /enum-drivers`. Its labels are translated, its values are not: the
/// published name comes right before the original one.
pub(crate) fn published_name(listing: &str) -> Option<String> {
    let values: Vec<_> =
        listing.lines().filter_map(|line| line.split_once(':')).map(|(_, value)| value.trim()).collect();
    let at = values.iter().position(|value| value.eq_ignore_ascii_case(INF))?;
    let published = values.get(at.checked_sub(1)?)?;
    let is_one = published.to_ascii_lowercase().starts_with("oem") && published.to_ascii_lowercase().ends_with(".inf");
    is_one.then(|| (*published).to_owned())
}

/// How strictly Driver Verifier is to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Level {
    /// Its standard settings
    Standard,
    /// Also low resources, forced pending I/O, IRP logging, delays
    Stress,
}

/// Sets Driver Verifier for the driver, from the next start of Windows. 2 means that the restart is needed.
pub(crate) fn verify(level: Level) -> Step {
    let mut arguments = match level {
        Level::Standard => vec!["/standard"],
        // As `verifier /?` numbers the classes: 3 low resources, 10 pending I/O, 11 IRP logging, 24 delay fuzzing.
        Level::Stress => {
            vec!["/ruleclasses", "1", "2", "3", "4", "5", "6", "8", "9", "10", "11", "12", "18", "24", "34"]
        }
    };
    arguments.extend(["/driver", IMAGE]);
    step("verifier.exe", &arguments, &[0, 2])
}

/// Takes Driver Verifier's settings back, for every driver.
pub(crate) fn verify_nothing() -> Step {
    step("verifier.exe", &["/reset"], &[0, 2])
}

/// Shows Driver Verifier's settings, as they are from the next start.
pub(crate) fn verifier_settings() -> Step {
    step("verifier.exe", &["/querysettings"], &[0, 1, 2])
}

/// What a program said, and its exit code.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub text: String,
    pub code: i32,
}

impl Step {
    /// The command line, for a person.
    pub fn shown(&self) -> String {
        let quoted =
            |argument: &String| if argument.contains(' ') { format!("\"{argument}\"") } else { argument.clone() };
        std::iter::once(self.program.to_owned()).chain(self.arguments.iter().map(quoted)).collect::<Vec<_>>().join(" ")
    }

    /// Runs it. `what` is what it is for.
    ///
    /// # Errors
    /// There is no such program, or it did not work; what that means is read from its exit code.
    pub fn run(&self, what: &str) -> Result<Said, Error> {
        let mut command = Command::new(self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if self.program == RUNDLL {
            // It says nothing; and in Wine the desktop that it may start would keep our pipes open.
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        let output = command.spawn().and_then(Child::wait_with_output).map_err(|error| {
            let why = format!("cannot run `{}`: {error}", self.shown());
            Error::new(what, Cause::Elsewhere(why))
        })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let code = output.status.code().unwrap_or(-1);
        if self.good.contains(&code) {
            return Ok(Said { text, code });
        }
        let said = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        Err(failure(what, code, || format!("exit code {code}: {said}")))
    }
}

/// What a Win32 error means, of the service control manager's or as an exit code, which for `pnputil` is also one of its own.
/// `otherwise` tells of every other one.
pub(crate) fn failure(what: &str, code: i32, otherwise: impl FnOnce() -> String) -> Error {
    let (exit, why) = match code.cast_unsigned() & 0xFFFF {
        2 | 3 => (Exit::Absent, "there is no such file"),
        5 => (Exit::Denied, "access is denied"),
        259 => (Exit::Failed, "nothing is to be done: it is installed already"),
        577 => (Exit::Failed, "Windows does not trust the driver's signature (577)"),
        1052 => (Exit::Failed, "the service can't take that in its state (1052)"),
        1056 => (Exit::Failed, "it runs already (1056)"),
        1060 => (Exit::Absent, "there is no such service (1060)"),
        1062 => (Exit::Failed, "it does not run (1062)"),
        1072 => (Exit::Failed, "it is marked for deletion: somebody still has it open (1072)"),
        1275 => (Exit::Failed, "Windows blocks the driver from loading (1275)"),
        _ => (Exit::Failed, ""),
    };
    let why = if why.is_empty() { otherwise() } else { why.to_owned() };
    Error::service(what, why, advice(code.cast_unsigned() & 0xFFFF), exit)
}

/// What to try, by the Win32 error.
const fn advice(code: u32) -> &'static str {
    match code {
        2 | 3 => "check the path of the INF, and that wskclient.sys lies beside it",
        5 => "use an elevated prompt (run as administrator)",
        577 | 1275 => "scripts\\prepare-vm.ps1 turns test signing on; Secure Boot must be off; then restart",
        1052 | 1072 => "end every process that has the device open: `wskctl status` counts the clients",
        1056 => "`wskctl status` shows what it holds",
        1060 => "install the driver first: `wskctl install wskclient.inf`",
        1062 => "start it: `wskctl start`",
        _ => {
            "%SystemRoot%\\INF\\setupapi.dev.log tells what an installation did; `wskctl status` what the driver holds"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_line_is_what_windows_documents() {
        assert_eq!(
            install(System::Windows, r"C:\a b\wskclient.inf").shown(),
            r#"pnputil.exe /add-driver "C:\a b\wskclient.inf" /install"#
        );
        assert_eq!(uninstall(System::Windows, "oem7.inf").shown(), "pnputil.exe /delete-driver oem7.inf /uninstall");
        assert_eq!(
            install(System::Wine, r"C:\w\wskclient.inf").shown(),
            r"rundll32.exe setupapi,InstallHinfSection DefaultInstall 128 C:\w\wskclient.inf"
        );
        assert_eq!(verify(Level::Standard).shown(), "verifier.exe /standard /driver wskclient.sys");
        assert!(verify(Level::Stress).shown().starts_with("verifier.exe /ruleclasses 1 2 3 "));
        assert!(verify(Level::Stress).shown().ends_with(" 34 /driver wskclient.sys"));
        assert_eq!(verify_nothing().shown(), "verifier.exe /reset");
    }

    #[test]
    fn the_published_name_is_found_whatever_the_language() {
        let listing = "Microsoft PnP Utility\n\nVeröffentlichter Name:     oem3.inf\nOriginalname:      other.inf\nAnbietername:      X\n\n\
                       Veröffentlichter Name:     oem12.inf\nOriginalname:      wskclient.inf\nAnbietername:      wskclient\n";
        assert_eq!(published_name(listing).as_deref(), Some("oem12.inf"));
        assert_eq!(published_name("Original Name: wskclient.inf"), None);
        assert_eq!(published_name(""), None);
    }

    #[test]
    fn an_error_says_what_is_wrong_and_what_to_try() {
        let failure = |code| failure("start the driver", code, || "what the system says".to_owned());
        assert_eq!(failure(5).to_string(), "start the driver: access is denied");
        assert_eq!((failure(5).exit(), failure(1060).exit()), (Exit::Denied, Exit::Absent));
        assert_eq!(failure(1060).advice(), Some("install the driver first: `wskctl install wskclient.inf`"));
        assert_eq!(failure(42).to_string(), "start the driver: what the system says");
        // HRESULT_FROM_WIN32(ERROR_ACCESS_DENIED)
        assert_eq!(failure(0x8007_0005_u32.cast_signed()).exit(), Exit::Denied);
    }
}
