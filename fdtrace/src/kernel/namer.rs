//! Namer: which function a code address is in.
//!
//! `/proc/kallsyms` says so, unless `kernel.kptr_restrict` hides addresses from this process: then
//! they are all zero there. The kernel still writes names where it writes an address itself (`%pB`),
//! and an iterator may have it do so. So a program of a few instructions goes over a map of one
//! address, and has that written.
//!
//! Only names come out of it: no address that was hidden is shown.

use std::{
    cell::RefCell,
    collections::HashMap,
    io::{self, Read as _},
    os::fd::OwnedFd,
};

use aya_obj::generated::{
    BPF_ADD, BPF_ALU64, BPF_CALL, BPF_DW, BPF_IMM, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX,
    BPF_MEM, BPF_MOV, BPF_STX, BPF_X, bpf_attach_type::BPF_TRACE_ITER,
    bpf_func_id::BPF_FUNC_seq_printf, bpf_map_type::BPF_MAP_TYPE_ARRAY,
    bpf_prog_type::BPF_PROG_TYPE_TRACING,
};

use super::{
    Symbols, Types,
    sys::bpf::{
        Program, attach_to_elements, create_map, instruction, iterate, return_value, update,
    },
};

/// What such a kernel does.
const HIDDEN: &str =
    "this kernel hides where its functions are (kernel.kptr_restrict, or no CAP_SYSLOG)";

/// What is called by a pointer or by itself, so that no compiler can leave it out, and tells a backtrace's
/// meaning. Where the symbols lack one, its addresses would be taken for those of the function before it.
const NEVER_INLINED: [&str; 7] = [
    "unix_stream_sendmsg",
    "unix_dgram_sendmsg",
    "unix_stream_recvmsg",
    "unix_dgram_recvmsg",
    "unix_stream_splice_read",
    "unix_destruct_scm",
    "unix_release_sock",
];

/// What an iterator over a map's elements runs its program for.
const ITERATOR: &str = "bpf_iter_bpf_map_elem";

/// Name of the map, as others see it.
const MAP: &std::ffi::CStr = c"fdtrace_address";

/// How the kernel is to write an address: as a function that it returns into.
const FORMAT: i32 = i32::from_ne_bytes(*b"%pB\0");

/// How this process learns which function a code address is in.
#[derive(Debug)]
pub enum Naming {
    /// The symbols say where functions are.
    Shown,
    /// They hide it, and the kernel names one function at a time.
    Asked(Asked),
    /// It does not. This is why.
    Hidden(String),
}

impl Naming {
    /// By `symbols`, or, if these do not say where functions are, by asking the running kernel, whose
    /// types these are. It answers nobody who is `lacking` capabilities.
    #[must_use]
    pub fn live(symbols: &Symbols, types: &Types, lacking: Option<&str>) -> Self {
        let Some(why) = useless(symbols) else {
            return Self::Shown;
        };
        if let Some(lacking) = lacking {
            return Self::Hidden(format!("{why}, and is not asked without {lacking}"));
        }
        match Asked::prepare(types) {
            Ok(asked) => Self::Asked(asked),
            Err(error) => Self::Hidden(format!("{why}, and does not name them: {error}")),
        }
    }

    /// By `symbols` alone.
    #[must_use]
    pub fn recorded(symbols: &Symbols) -> Self {
        useless(symbols).map_or(Self::Shown, Self::Hidden)
    }

    /// Why no function can be named.
    #[must_use]
    pub fn lacking(&self) -> Option<&str> {
        match self {
            Self::Shown | Self::Asked(_) => None,
            Self::Hidden(why) => Some(why),
        }
    }
}

/// Why addresses cannot be told by these symbols.
fn useless(symbols: &Symbols) -> Option<String> {
    if symbols.addresses_hidden() {
        return Some(HIDDEN.to_owned());
    }
    let missing =
        |function: &&&str| symbols.exact(function).is_none() && symbols.clones(function).is_empty();
    let missing = NEVER_INLINED.iter().find(missing)?;
    Some(format!(
        "the symbols of this kernel lack {missing}, so others may be missing too"
    ))
}

/// Names the functions that code addresses are in.
#[derive(Debug)]
pub struct Namer {
    symbols: Symbols,
    naming: Naming,
    /// What the kernel has answered: the ways to a list's end are few.
    known: RefCell<HashMap<u64, Option<String>>>,
}

impl Namer {
    /// One that goes by these symbols, in this way.
    #[must_use]
    pub fn new(symbols: Symbols, naming: Naming) -> Self {
        Self {
            symbols: match naming {
                Naming::Shown => symbols,
                // They take memory and say nothing.
                Naming::Asked(_) | Naming::Hidden(_) => Symbols::default(),
            },
            naming,
            known: RefCell::default(),
        }
    }

    /// The function that `address` is in, if that is known.
    #[must_use]
    pub fn name(&self, address: u64) -> Option<String> {
        match &self.naming {
            Naming::Shown => Some(self.symbols.symbolize(address)?.0.to_owned()),
            Naming::Asked(kernel) => {
                if let Some(name) = self.known.borrow().get(&address) {
                    return name.clone();
                }
                let name = kernel.name(address).ok()?;
                self.known.borrow_mut().insert(address, name.clone());
                name
            }
            Naming::Hidden(_) => None,
        }
    }
}

/// An iterator that has the kernel write what function an address is in.
#[derive(Debug)]
pub struct Asked {
    /// An array of one address.
    address: OwnedFd,
    /// The iterator over it.
    iterator: OwnedFd,
}

impl Asked {
    fn prepare(types: &Types) -> io::Result<Self> {
        let target = types
            .function_id(ITERATOR)
            .ok_or_else(|| io::Error::other(format!("there is no {ITERATOR}")))?;
        let program = Program {
            kind: BPF_PROG_TYPE_TRACING,
            attach: Some(BPF_TRACE_ITER),
            target,
            instructions: &instructions(),
        }
        .load()?;
        let size = size_of::<u64>() as u32;
        let address = create_map(BPF_MAP_TYPE_ARRAY, MAP, [4, size, 1])?;
        let iterator = attach_to_elements(&address, &program)?;
        Ok(Self { address, iterator })
    }

    /// What the kernel calls the function at `address`; `None` if it knows none there.
    fn name(&self, address: u64) -> io::Result<Option<String>> {
        update(&self.address, 0, &address.to_ne_bytes())?;
        let mut written = String::new();
        iterate(&self.iterator)?.read_to_string(&mut written)?;
        Ok(name_in(&written))
    }
}

/// The name in `unix_release_sock+0x1a/0x340 [unix]`. An address without one is written as a number.
fn name_in(written: &str) -> Option<String> {
    let (name, _) = written.split_once('+')?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// `if (ctx->value) bpf_seq_printf(ctx->meta->seq, FORMAT, 4, ctx->value, 8)`
fn instructions() -> [u64; 14] {
    const STACK: u8 = 10;
    let load = |to, from, offset| instruction(BPF_LDX | BPF_MEM | BPF_DW, [to, from], offset, 0);
    let set = |to, value| instruction(BPF_ALU64 | BPF_K | BPF_MOV, [to, 0], 0, value);
    let [zero, exit] = return_value(0);
    [
        // Null where the elements end.
        load(4, 1, 24),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, [4, 0], 10, 0),
        instruction(BPF_LD | BPF_IMM | BPF_DW, [3, 0], 0, FORMAT),
        // The upper half of that.
        0,
        instruction(BPF_STX | BPF_MEM | BPF_DW, [STACK, 3], -8, 0),
        load(1, 1, 0),
        load(1, 1, 0),
        instruction(BPF_ALU64 | BPF_X | BPF_MOV, [2, STACK], 0, 0),
        instruction(BPF_ALU64 | BPF_K | BPF_ADD, [2, 0], 0, -8),
        set(3, size_of_val(&FORMAT) as i32),
        set(5, size_of::<u64>() as i32),
        instruction(BPF_JMP | BPF_CALL, [0, 0], 0, BPF_FUNC_seq_printf as i32),
        zero,
        exit,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_kernel_writes_before_the_offset() {
        let name = |written| name_in(written);
        let plain = name("unix_release_sock+0x1a/0x340");
        assert_eq!(plain.as_deref(), Some("unix_release_sock"));
        let of_module = name("unix_gc.part.0+0x1a/0x340 [unix]");
        assert_eq!(of_module.as_deref(), Some("unix_gc.part.0"));
        assert_eq!(name("0xffffffffc0123456"), None);
        assert_eq!(name(""), None);
    }
}
