//! Records a kernel as a fixture: the few types that fdtrace asks about, cut out of its full BTF.
//!
//! A kernel's BTF is five megabytes and a plan needs a hundredth of it. What is kept is real and
//! unchanged: the structs whose members fdtrace reads, whole, with everything they embed by value.
//! Structs that are only pointed to become forward declarations. Nothing is interpreted here; the
//! tests ask the small BTF and the full one the same questions.

mod btf;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use btf::{Full, Kind, Selection};

/// Structs that are wanted beside those of the offset table: what other hops may come to read.
const MORE_STRUCTS: [&str; 6] = [
    "pt_regs",
    "socket_alloc",
    "scm_cookie",
    "msghdr",
    "unix_stream_read_state",
    "user_msghdr",
];

/// Tracepoints that fdtrace may attach to.
const TRACEPOINTS: [&str; 10] = [
    "sys_enter",
    "sys_exit",
    "kmalloc",
    "kfree",
    "sk_data_ready",
    "sock_send_length",
    "sock_recv_length",
    "skb_copy_datagram_iovec",
    "consume_skb",
    "kfree_skb",
];

/// What the kernel calls its iterators' targets.
const ITERATORS: [&str; 2] = ["bpf_iter_task_file", "bpf_iter_unix"];

/// Where the made-up addresses start, and how far apart they are.
const TEXT_START: u64 = 0xffff_ffff_8100_0000;
const TEXT_STRIDE: u64 = 0x400;

/// Record a kernel's types and symbols for tests that run without it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The kernel's BTF, as in /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE")]
    btf: PathBuf,
    /// A list of functions: name, then `kallsyms=` and the type or the names of clones, per line
    #[arg(long, value_name = "FILE")]
    symbols: PathBuf,
    /// What `uname -r` says there
    #[arg(long)]
    release: String,
    /// What /sys/kernel/security/lsm says there
    #[arg(long, value_delimiter = ',')]
    lsms: Vec<String>,
    /// The lockdown mode in force there
    #[arg(long, value_name = "MODE")]
    lockdown: Option<String>,
    /// The directory to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Writes `btf`, `kallsyms` and `kernel.json`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let functions = read_functions(&args.symbols)?;
    let btf = fs::read(&args.btf).with_context(|| format!("cannot read {}", args.btf.display()))?;
    let names: Vec<_> = functions.iter().map(|it| it.name.as_str()).collect();
    let small = extract(&btf, &names)
        .with_context(|| format!("cannot use the BTF in {}", args.btf.display()))?;
    let description = serde_json::json!({
        "release": args.release,
        "capabilities": "all",
        "lsms": args.lsms,
        "kptr_restrict": 0,
        "lockdown": args.lockdown,
    });

    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot create {}", args.out.display()))?;
    write(&args.out, "btf", &small)?;
    write(&args.out, "kallsyms", kallsyms(&functions).as_bytes())?;
    write(
        &args.out,
        "kernel.json",
        format!("{description:#}\n").as_bytes(),
    )?;
    println!("{}: {} bytes of BTF", args.out.display(), small.len());
    Ok(())
}

fn write(dir: &Path, name: &str, content: &[u8]) -> Result<()> {
    let path = dir.join(name);
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// One line of the list of functions.
struct Function {
    name: String,
    /// `T`, `t`, `W` or `w`; absent when no symbol has exactly this name.
    kind: Option<char>,
    /// Clones of it with the compiler's suffix.
    clones: Vec<String>,
}

fn read_functions(path: &Path) -> Result<Vec<Function>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let functions: Vec<_> = text.lines().filter_map(read_function).collect();
    ensure!(!functions.is_empty(), "no function in {}", path.display());
    Ok(functions)
}

fn read_function(line: &str) -> Option<Function> {
    if line.starts_with('#') {
        return None;
    }
    let mut columns = line.split_whitespace();
    let name = columns.next()?.to_owned();
    let symbols = columns.next()?.strip_prefix("kallsyms=")?;
    let (clones, kind) = symbols
        .split(',')
        .filter(|&symbol| symbol != "-")
        .partition::<Vec<_>, _>(|symbol| symbol.contains('.'));
    Some(Function {
        name,
        kind: kind.first().and_then(|kind| kind.chars().next()),
        clones: clones.into_iter().map(str::to_owned).collect(),
    })
}

fn kallsyms(functions: &[Function]) -> String {
    let mut symbols: Vec<(char, &str)> = vec![('T', "_stext")];
    for function in functions {
        symbols.extend(function.kind.map(|kind| (kind, function.name.as_str())));
        symbols.extend(function.clones.iter().map(|clone| ('t', clone.as_str())));
    }
    let mut text = String::new();
    let addresses = (TEXT_START..).step_by(TEXT_STRIDE as usize);
    for (address, (kind, name)) in addresses.zip(symbols) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{address:016x} {kind} {name}");
    }
    text
}

/// Structs of the offset table and of `MORE_STRUCTS`.
fn wanted_structs() -> BTreeSet<&'static str> {
    macro_rules! paths {
        ($($name:ident $path:literal $size:literal;)*) => { [$($path),*] };
    }
    fdtrace_common::for_each_offset!(paths)
        .into_iter()
        .filter_map(|path| path.split('.').next())
        .chain(MORE_STRUCTS)
        .collect()
}

/// Cuts out of `btf` the types that fdtrace asks about and the prototypes of `functions`.
pub(crate) fn extract(btf: &[u8], functions: &[&str]) -> Result<Vec<u8>> {
    let full = Full::parse(btf)?;
    let structs = wanted_structs();
    let functions: BTreeSet<_> = functions.iter().copied().chain(ITERATORS).collect();
    let tracepoints: BTreeSet<_> = TRACEPOINTS
        .iter()
        .map(|name| format!("btf_trace_{name}"))
        .collect();

    let mut selection = Selection::of(&full);
    for (id, ty) in full.types.iter().enumerate().skip(1) {
        let name = full.name(ty.name)?;
        let wanted = match ty.kind() {
            Kind::STRUCT | Kind::UNION => structs.contains(name),
            Kind::FUNC => functions.contains(name),
            Kind::TYPEDEF => tracepoints.contains(name),
            _ => false,
        };
        if wanted {
            selection.keep(id as u32)?;
        }
    }
    selection.encode()
}

#[cfg(test)]
mod tests;
