//! `wskctl help`: a command's help, or a topic.

use crate::{Cause, Error, cli::Wskctl, help::TOPICS, output::Output};
use clap::CommandFactory;

/// What to tell about.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A command, or `json` or `exit-codes`
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output) -> Result<(), Error> {
    let mut command = Wskctl::command();
    command.build();
    let Some(topic) = &arguments.topic else {
        return output.text(command.render_help().ansi().to_string().trim_end());
    };
    if let Some((_, text)) = TOPICS.iter().find(|(name, _)| name == topic) {
        return output.text(text.trim_end());
    }
    if let Some(subcommand) = command.find_subcommand_mut(topic) {
        return output.text(subcommand.render_help().ansi().to_string().trim_end());
    }
    let names = command.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
    let topics: Vec<_> = names.chain(TOPICS.iter().map(|(name, _)| *name)).collect();
    let why = format!("there is help for: {}", topics.join(", "));
    Err(Error::new(format!("find help for `{topic}`"), Cause::Usage(why)))
}
