//! Usage: what is said to a command line that is none. clap's tips, but for a command that takes
//! another command behind `--`: there it would take every slip for a part of that.

use std::ffi::OsString;

use clap::{
    CommandFactory as _, Parser as _,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

use super::{args::Args, suggest::nearest};
use crate::explain::words;

/// The arguments, or an end with what is wrong with them.
pub(super) fn parse() -> Args {
    let typed = asked_for_a_word(std::env::args_os().collect());
    Args::try_parse_from(typed).unwrap_or_else(|error| improved(error).exit())
}

/// `fdtrace help no-control-room` is `fdtrace why no-control-room`.
fn asked_for_a_word(mut typed: Vec<OsString>) -> Vec<OsString> {
    if let [_, help, word] = &typed[..]
        && help == "help"
        && Args::command().find_subcommand(word).is_none()
        && word
            .to_str()
            .is_some_and(|word| !words::find(word).is_empty())
    {
        typed[1] = "why".into();
    }
    typed
}

fn improved(mut error: Error) -> Error {
    let Some(ContextValue::String(wrong)) = error.get(ContextKind::InvalidArg).cloned() else {
        return error;
    };
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let tip = match wrong.strip_prefix("--") {
        Some(format @ ("json" | "text")) => Some(format!("use `--format {format}`")),
        Some(wrong) => {
            let options = options();
            let like = nearest(wrong, options.iter().map(String::as_str));
            like.map(|like| format!("a similar argument exists: '--{like}'"))
        }
        None if wrong.starts_with('-') => None,
        None if takes_command() => Some(format!("put `--` before a command: `-- {wrong} …`")),
        None => return error,
    };
    if tip.is_none() && !takes_command() {
        return error;
    }
    error.remove(ContextKind::Suggested);
    error.remove(ContextKind::SuggestedArg);
    if let Some(tip) = tip {
        let tip = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tip);
    }
    error
}

/// The subcommand that was typed.
fn subcommand() -> Option<clap::Command> {
    let command = Args::command();
    let mut typed = std::env::args_os().skip(1);
    typed.find_map(|word| command.find_subcommand(word).cloned())
}

fn takes_command() -> bool {
    subcommand().is_some_and(|command| command.get_arguments().any(clap::Arg::is_last_set))
}

/// Long names of its options, and of those of every command.
fn options() -> Vec<String> {
    let command = Args::command();
    let own = subcommand();
    let names = own
        .iter()
        .chain([&command])
        .flat_map(clap::Command::get_arguments);
    names
        .filter_map(|arg| arg.get_long())
        .map(str::to_owned)
        .collect()
}
