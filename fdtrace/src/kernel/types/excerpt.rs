//! A small BTF that has a few types under the ids that they have in the kernel's.
//!
//! To load a program the kernel wants the id of what it attaches to, and aya looks that up by name
//! in a BTF of its own: one of the whole kernel takes it 110 ms and 40 MB. All that it asks is
//! answered by a BTF in which every other type is an anonymous forward declaration. Nobody may
//! ask such a BTF what a type looks like.

use btf_rs::Type;

use super::{TypeError, Types, Walk, malformed};

/// Kinds in `include/uapi/linux/btf.h`.
const KIND_FWD: u32 = 7;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNC: u32 = 12;

/// What a program can be attached to by a BTF id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A function.
    Function(&'a str),
    /// A tracepoint, by its name without prefix.
    Tracepoint(&'a str),
}

impl Types {
    /// BTF in which each of `targets` has the id that it has here, and which has nothing else.
    ///
    /// # Errors
    ///
    /// [`TypeError::NoSuchType`] for a target that this kernel does not have.
    pub fn excerpt(&self, targets: &[Target<'_>]) -> Result<Vec<u8>, TypeError> {
        let mut strings = vec![0];
        let mut entries = Vec::with_capacity(targets.len());
        for target in targets {
            let (name, kind) = match target {
                Target::Function(name) => ((*name).to_owned(), KIND_FUNC),
                Target::Tracepoint(name) => (format!("btf_trace_{name}"), KIND_TYPEDEF),
            };
            let id = self
                .id_of(&name, kind)?
                .ok_or_else(|| TypeError::NoSuchType { name: name.clone() })?;
            entries.push((id, kind, strings.len()));
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
        }
        entries.sort_unstable_by_key(|&(id, ..)| id);
        entries.dedup_by_key(|&mut (id, ..)| id);

        let mut words: Vec<u32> = Vec::new();
        let last = entries.last().map_or(0, |&(id, ..)| id);
        let mut entries = entries.into_iter().peekable();
        for id in 1..=last {
            // Name, kind, and the type that a typedef or function refers to, which is nobody's.
            words.extend(match entries.next_if(|&(wanted, ..)| wanted == id) {
                Some((_, kind, name)) => [narrow(name)?, kind << 24, 0],
                None => [0, KIND_FWD << 24, 0],
            });
        }
        let types_len = narrow(words.len() * 4)?;
        let header: [u32; 5] = [24, 0, types_len, types_len, narrow(strings.len())?];
        let mut btf = Vec::with_capacity(24 + words.len() * 4 + strings.len());
        btf.extend_from_slice(&0xEB9F_u16.to_ne_bytes());
        btf.extend_from_slice(&[1, 0]); // version, flags
        for word in header.iter().chain(&words) {
            btf.extend_from_slice(&word.to_ne_bytes());
        }
        btf.extend_from_slice(&strings);
        Ok(btf)
    }

    fn id_of(&self, name: &str, kind: u32) -> Result<Option<u32>, TypeError> {
        let found = Walk::new(self, name).named(name, |ty| match ty {
            Type::Func(_) => kind == KIND_FUNC,
            Type::Typedef(_) => kind == KIND_TYPEDEF,
            _ => false,
        })?;
        Ok(found.first().map(|(id, _)| *id))
    }
}

fn narrow(len: usize) -> Result<u32, TypeError> {
    u32::try_from(len).map_err(malformed)
}
