//! What a dynamic program needs beside itself: the libraries that this machine's dynamic linker
//! finds for it, and that linker. Nothing of the program runs to find out.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use object::{
    Endianness,
    read::elf::{ElfFile64, ProgramHeader as _},
};

use crate::process;

/// The files, at the paths at which the program will look for them. A static program and a script
/// need none.
pub(crate) fn of(program: &Path, data: &[u8]) -> Result<Vec<PathBuf>> {
    let Some(linker) = linker(data) else {
        return Ok(Vec::new());
    };
    let listed = process::output(Command::new(&linker).arg("--list").arg(program));
    let listed = listed.with_context(|| {
        format!(
            "{} does not say which libraries {} needs",
            linker.display(),
            program.display()
        )
    })?;
    let mut files = listed_in(&listed).with_context(|| format!("in {}", program.display()))?;
    if !files.contains(&linker) {
        files.push(linker);
    }
    Ok(files)
}

/// The dynamic linker that an ELF program names.
pub(crate) fn linker(data: &[u8]) -> Option<PathBuf> {
    let elf = ElfFile64::<Endianness>::parse(data).ok()?;
    let endian = elf.endian();
    let named = elf
        .elf_program_headers()
        .iter()
        .find_map(|header| header.interpreter(endian, data).ok()?)?;
    Some(PathBuf::from(std::str::from_utf8(named).ok()?))
}

/// What stands behind the arrow, or alone; what the kernel brings has no path.
fn listed_in(listed: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for line in listed.lines().map(str::trim) {
        let (name, found) = line.split_once(" => ").unwrap_or(("", line));
        if found == "not found" {
            bail!("the library {name} is not on this machine");
        }
        let path = found
            .rsplit_once(" (0x")
            .map_or(found, |(path, _)| path.trim());
        if path.starts_with('/') {
            files.push(path.into());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn libraries_are_where_the_linker_finds_them() {
        let listed = "\
            \tlinux-vdso.so.1 (0x00007ffc6d5d5000)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1c5a400000)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f1c5a6b1000)\n";
        assert_eq!(
            listed_in(listed).unwrap(),
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
            .map(PathBuf::from)
        );
        assert!(listed_in("\tlibgone.so.1 => not found\n").is_err());
        assert!(listed_in("\tstatically linked\n").unwrap().is_empty());
    }

    #[test]
    fn this_test_needs_libraries_and_a_script_does_not() {
        let own = Path::new("/proc/self/exe");
        let files = of(&fs::canonicalize(own).unwrap(), &fs::read(own).unwrap()).unwrap();
        assert_eq!(files.is_empty(), cfg!(target_feature = "crt-static"));
        assert!(files.iter().all(|file| file.is_file()), "{files:?}");
        assert!(of(own, b"#!/bin/sh\n").unwrap().is_empty());
    }
}
