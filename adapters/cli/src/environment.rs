//! Environment variables of flags: an empty one is as if it were not set, as in geth and in container files.

use clap::Command;

/// The command without the environment variables that are empty.
pub(crate) fn without_empty(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        let is_empty = argument.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if is_empty { argument.env(None::<&str>) } else { argument }
    });
    command.mut_subcommands(without_empty)
}
