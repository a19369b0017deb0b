//! `fdtrace why`: what a word of the output means, and what helps.

use anyhow::Result;

use super::{
    CannotRun, EXIT_OK, Output,
    args::{Common, Why},
};
use crate::{
    explain::words,
    report::{write_all_words, write_words},
};

pub(super) fn run(args: &Why, common: &Common) -> Result<u8> {
    let found = match &args.word {
        None => words::all(),
        Some(word) => find(word)?,
    };
    let mut out = Output::open(common.output.as_deref())?;
    let width = common.width(&out);
    match &args.word {
        None => write_all_words(&mut out, &found, width)?,
        Some(_) => write_words(&mut out, &found, width)?,
    }
    out.finish()?;
    Ok(EXIT_OK)
}

fn find(word: &str) -> Result<Vec<words::Word>> {
    let found = words::find(word);
    if !found.is_empty() {
        return Ok(found);
    }
    let names = words::all().into_iter().map(|word| word.name);
    let like = super::suggest::nearest(word, names);
    Err(CannotRun {
        what: match like {
            Some(like) => format!("{word:?} is no word of fdtrace's; did you mean {like}?"),
            None => format!("{word:?} is no word of fdtrace's"),
        },
        hint: "`fdtrace why` lists them all",
    }
    .into())
}
