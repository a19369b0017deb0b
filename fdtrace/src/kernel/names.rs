//! One pass over raw BTF: checks that it is sound, and indexes its type names.
//!
//! The BTF library resolves types by id lazily and trusts section lengths; its look-up by name is a
//! scan over all types, a millisecond each on a distribution kernel and fdtrace asks about a
//! hundred. So the bytes are walked once, before the library sees them: what leaves here has every
//! type inside its section and every name inside the strings. What types *mean* is not decided
//! here.

use super::TypeError;

const MAGIC: u16 = 0xEB9F;
const HEADER_LEN: usize = 24;

/// Which ids a name might have. Names are kept as hashes, so an answer is a superset.
#[derive(Debug)]
pub(super) struct Names {
    /// `hash << 32 | id`, sorted.
    hashed: Vec<u64>,
}

impl Names {
    /// Checks `btf` and indexes the kinds of type that are looked up by name.
    pub(super) fn index(btf: &[u8]) -> Result<Self, TypeError> {
        let (types, strings) = sections(btf)?;
        // A type takes 22 bytes on average in a kernel's BTF.
        let mut hashed = Vec::with_capacity(types.len() / 22);
        let mut id = 0u64;
        let mut at = 0;
        while at < types.len() {
            id += 1;
            let [name, info, _] = words(types, at).ok_or_else(|| cut_short(id))?;
            let vlen = (info & 0xFFFF) as usize;
            let kind = info >> 24 & 0x1F;
            let body = body_len(kind, vlen).ok_or_else(|| {
                TypeError::Malformed(format!("type {id} is of unknown kind {kind}"))
            })?;
            at += 12 + body;
            if at > types.len() {
                return Err(cut_short(id));
            }
            let name = strings.get(name as usize..).ok_or_else(|| {
                TypeError::Malformed(format!("type {id} has its name outside the strings"))
            })?;
            if is_looked_up(kind) && name.first().is_some_and(|&first| first != 0) {
                hashed.push(u64::from(hash(name)) << 32 | id);
            }
        }
        hashed.sort_unstable();
        hashed.shrink_to_fit();
        Ok(Self { hashed })
    }

    /// Ids of the types that may be called `name`, ascending.
    pub(super) fn candidates(&self, name: &str) -> impl Iterator<Item = u32> {
        let hash = u64::from(hash(name.as_bytes()));
        let start = self.hashed.partition_point(|&entry| entry >> 32 < hash);
        self.hashed[start..]
            .iter()
            .take_while(move |&&entry| entry >> 32 == hash)
            .map(|&entry| entry as u32)
    }
}

/// The type and the string section.
fn sections(btf: &[u8]) -> Result<(&[u8], &[u8]), TypeError> {
    let malformed = |what: &str| TypeError::Malformed(what.to_owned());
    let magic = btf.first_chunk().copied().map(u16::from_ne_bytes);
    if magic != Some(MAGIC) {
        return Err(malformed("it does not start with the BTF magic number"));
    }
    let [header_len, type_off, type_len, str_off, str_len] =
        words(btf, 4).ok_or_else(|| malformed("the header is cut short"))?;
    if (header_len as usize) < HEADER_LEN {
        return Err(malformed("the header is too short"));
    }
    let section = |offset: u32, len: u32| {
        let start = header_len as usize + offset as usize;
        btf.get(start..start + len as usize)
    };
    let types = section(type_off, type_len)
        .ok_or_else(|| malformed("the type section reaches past the end"))?;
    let strings = section(str_off, str_len)
        .ok_or_else(|| malformed("the string section reaches past the end"))?;
    if strings.first() != Some(&0) || strings.last() != Some(&0) {
        return Err(malformed("the string section is not terminated"));
    }
    Ok((types, strings))
}

fn words<const N: usize>(bytes: &[u8], at: usize) -> Option<[u32; N]> {
    let mut words = [0; N];
    let (chunks, _) = bytes.get(at..at + 4 * N)?.as_chunks();
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = u32::from_ne_bytes(*chunk);
    }
    Some(words)
}

/// How many bytes follow the twelve that all kinds start with (`include/uapi/linux/btf.h`).
fn body_len(kind: u32, vlen: usize) -> Option<usize> {
    Some(match kind {
        // ptr, fwd, typedef, volatile, const, restrict, func, float, type tag
        2 | 7..=12 | 16 | 18 => 0,
        // int, var, decl tag
        1 | 14 | 17 => 4,
        // array
        3 => 12,
        // struct, union, datasec, enum64
        4 | 5 | 15 | 19 => 12 * vlen,
        // enum, func proto
        6 | 13 => 8 * vlen,
        _ => return None,
    })
}

/// Whether anything asks for this kind by name: int, struct, union, enum, typedef, func, float,
/// enum64.
fn is_looked_up(kind: u32) -> bool {
    matches!(kind, 1 | 4 | 5 | 6 | 8 | 12 | 16 | 19)
}

/// FNV-1a of the bytes up to the first NUL.
pub(super) fn hash(name: &[u8]) -> u32 {
    name.iter()
        .take_while(|&&byte| byte != 0)
        .fold(0x811C_9DC5, |hash, &byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        })
}

fn cut_short(id: u64) -> TypeError {
    TypeError::Malformed(format!("type {id} is cut short"))
}
