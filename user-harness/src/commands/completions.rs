//! `wskctl completions` and `wskctl man`: what a shell and `man` know of the command line, made from the command line itself.

use crate::{Error, cli::Wskctl, output::Output};
use clap::CommandFactory;
use clap_complete::Shell;

/// Which shell.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The shell that will read it
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Wskctl::command(), "wskctl", &mut script);
    output.text(String::from_utf8_lossy(&script).trim_end())
}

/// One page for the command and every command under it.
pub(super) fn manual(output: &mut Output) -> Result<(), Error> {
    let failed = |error| Error::host("write the manual page", error);
    let mut page = Vec::new();
    let mut command = Wskctl::command();
    command.build();
    let man = clap_mangen::Man::new(command.clone());
    man.render_title(&mut page).map_err(failed)?;
    man.render_name_section(&mut page).map_err(failed)?;
    man.render_synopsis_section(&mut page).map_err(failed)?;
    man.render_options_section(&mut page).map_err(failed)?;
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        section(subcommand, &mut page);
    }
    man.render_extra_section(&mut page).map_err(failed)?;
    man.render_version_section(&mut page).map_err(failed)?;
    output.text(String::from_utf8_lossy(&page).trim_end())
}

/// A section with the command's own help, as the screen shows it.
fn section(command: &clap::Command, page: &mut Vec<u8>) {
    let help = command.clone().max_term_width(76).render_help().to_string();
    let title = command.get_name().to_uppercase();
    let mut text = format!(".SH {title}\n.nf\n");
    for line in help.lines() {
        // A line that begins with a dot or a quote would be a request to the formatter.
        let escaped = line.replace('\\', "\\e").replace('-', "\\-");
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        text.push_str(guard);
        text.push_str(&escaped);
        text.push('\n');
    }
    text.push_str(".fi\n");
    page.extend_from_slice(text.as_bytes());
}
