//! What happens to the object between the linker and the tree: DWARF goes, BTF stays, and the
//! result must be loadable and free of the builder's paths.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use object::{
    build::elf::{Builder, Section, SectionData},
    elf::SHT_STRTAB,
};

/// Removes DWARF, which no loader reads and which is nine tenths of the file.
pub(crate) fn strip(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("cannot read the linked object")?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        if name.starts_with(b".debug_") || name.starts_with(b".rel.debug_") {
            section.delete = true;
        }
    }
    builder.delete_orphans();
    // LLVM keeps section names among the symbol names; the writer wants a section for each.
    let has_names = |section: &Section<'_>| matches!(section.data, SectionData::SectionString);
    if !builder.sections.iter().any(has_names) {
        let names = builder.sections.add();
        names.name = b".shstrtab"[..].into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut stripped = Vec::new();
    builder
        .write(&mut stripped)
        .context("cannot write the stripped object")?;
    Ok(stripped)
}

/// What the object holds, as one line. An object that aya cannot load is an error.
pub(crate) fn describe(object: &[u8]) -> Result<String> {
    let parsed = aya_obj::Object::parse(object).context("aya cannot parse the object")?;
    if parsed.btf.is_none() {
        bail!("the object has no BTF");
    }
    let (programs, maps, size) = (parsed.programs.len(), parsed.maps.len(), object.len());
    Ok(format!("{programs} programs, {maps} maps, {size} bytes"))
}

/// An error naming the first of `folders` that a path inside the object begins with.
pub(crate) fn refuse_paths(object: &[u8], folders: &[PathBuf]) -> Result<()> {
    for folder in folders {
        let path = folder.as_os_str().as_encoded_bytes();
        // "/" is everybody's prefix and tells nothing.
        if path.len() < 2 {
            continue;
        }
        let leaks = object.windows(path.len()).enumerate().any(|(at, bytes)| {
            let before = at.checked_sub(1).and_then(|at| object.get(at));
            let after = object.get(at + path.len());
            bytes == path
                && !before.is_some_and(|byte| in_a_path(*byte))
                && !after.is_some_and(|byte| *byte != b'/' && in_a_path(*byte))
        });
        if leaks {
            bail!("it names a folder of this machine: {}", folder.display());
        }
    }
    Ok(())
}

fn in_a_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use object::{Object as _, ObjectSection as _, ObjectSymbol as _, read, write};

    use super::*;

    /// A BPF object with a program, a symbol for it, BTF (not a valid one) and DWARF.
    fn object_with_dwarf() -> Vec<u8> {
        use object::{
            Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind,
        };
        let mut object =
            write::Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        let code = object.add_section(vec![], b"raw_tp/x".to_vec(), SectionKind::Text);
        object.append_section_data(code, &[0x95, 0, 0, 0, 0, 0, 0, 0], 8);
        for name in [".BTF", ".BTF.ext", ".debug_info", ".debug_str"] {
            let id = object.add_section(vec![], name.into(), SectionKind::Other);
            object.append_section_data(id, name.as_bytes(), 4);
        }
        object.add_symbol(write::Symbol {
            name: b"copy_x".to_vec(),
            value: 0,
            size: 8,
            kind: SymbolKind::Text,
            scope: object::SymbolScope::Dynamic,
            weak: false,
            section: write::SymbolSection::Section(code),
            flags: SymbolFlags::None,
        });
        object.write().unwrap()
    }

    #[test]
    fn strip_removes_dwarf_and_nothing_else() {
        let stripped = strip(&object_with_dwarf()).unwrap();
        let file = read::File::parse(&*stripped).unwrap();
        let names: Vec<_> = file
            .sections()
            .map(|section| section.name().unwrap())
            .collect();
        assert!(
            !names.iter().any(|name| name.contains("debug")),
            "{names:?}"
        );
        assert_eq!(
            file.section_by_name(".BTF").unwrap().data().unwrap(),
            b".BTF"
        );
        assert_eq!(
            file.section_by_name(".BTF.ext").unwrap().data().unwrap(),
            b".BTF.ext"
        );
        let program = file.section_by_name("raw_tp/x").unwrap();
        let symbol = file
            .symbols()
            .find(|symbol| symbol.name() == Ok("copy_x"))
            .unwrap();
        assert_eq!(symbol.section_index(), Some(program.index()));
    }

    #[test]
    fn a_path_of_the_builder_is_refused() {
        let folders = [PathBuf::from("/home/me"), PathBuf::from("/src")];
        assert!(refuse_paths(b"\0/home/me/x.rs\0", &folders).is_err());
        assert!(refuse_paths(b"\0/src\0", &folders).is_err());
    }

    #[test]
    fn a_path_that_only_looks_alike_is_not() {
        let folders = [
            PathBuf::from("/home/me"),
            PathBuf::from("/src"),
            PathBuf::from("/"),
        ];
        let object = b"\0crates/core/src/lib.rs\0/home/media/x.rs\0";
        assert!(refuse_paths(object, &folders).is_ok());
    }
}
