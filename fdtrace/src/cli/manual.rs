//! `fdtrace man` and `fdtrace completions`: manual pages and shell completions, from the same definition
//! as the help.

use std::{fs, io::Write as _};

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::{
    CannotRun, EXIT_OK, Output,
    args::{Args, Common, Completions, Manual},
    suggest::nearest,
};

pub(super) fn man(args: &Manual, common: &Common) -> Result<u8> {
    let root = command();
    if let Some(folder) = &args.all {
        for command in pages(&root) {
            let file = folder.join(format!("{}.1", page_name(command)));
            fs::write(&file, page(command)?)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        return Ok(EXIT_OK);
    }
    let found = match &args.command {
        None => Some(&root),
        Some(name) => pages(&root).find(|command| command.get_name() == name),
    };
    let Some(command) = found else {
        let typed = args.command.as_deref().unwrap_or_default();
        let like = nearest(typed, pages(&root).skip(1).map(Command::get_name));
        let like = like.map_or(String::new(), |like| format!("; did you mean {like}?"));
        return Err(CannotRun {
            what: format!("there is no command {typed:?}{like}"),
            hint: "`fdtrace help` lists them all",
        }
        .into());
    };
    write(&page(command)?, common)
}

pub(super) fn completions(args: &Completions, common: &Common) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "fdtrace", &mut script);
    write(&script, common)
}

fn write(bytes: &[u8], common: &Common) -> Result<u8> {
    let mut out = Output::open(common.output.as_deref())?;
    out.unstyled().write_all(bytes)?;
    out.finish()?;
    Ok(EXIT_OK)
}

/// All that can be typed.
fn command() -> Command {
    let mut command = Args::command();
    command.build();
    command
}

/// fdtrace, and each of its commands that a user has.
fn pages(root: &Command) -> impl Iterator<Item = &Command> {
    let commands = root
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let commands = commands.filter(|command| command.get_name() != "help");
    std::iter::once(root).chain(commands)
}

/// `fdtrace-trace`.
fn page_name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    let command = command.clone().version(env!("CARGO_PKG_VERSION"));
    let name = page_name(&command).to_owned();
    Man::new(command)
        .title(name)
        .source(concat!("fdtrace ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)
        .context("cannot make a manual page")?;
    Ok(page)
}

#[test]
fn every_command_has_a_page_and_every_option_is_in_it() {
    let root = command();
    assert!(pages(&root).count() >= 10);
    for command in pages(&root) {
        let text = String::from_utf8(page(command).expect("memory takes it")).expect("it is text");
        let text = text.replace("\\-", "-");
        assert!(text.contains(".TH"), "{text}");
        for option in command
            .get_arguments()
            .filter(|option| !option.is_hide_set())
        {
            if let Some(long) = option.get_long() {
                assert!(
                    text.contains(&format!("--{long}")),
                    "{}: {long}",
                    command.get_name()
                );
            }
        }
    }
}
