//! Records a kernel as a fixture: the few types that fdtrace asks about, cut out of its full BTF.
//!
//! A kernel's BTF is five megabytes and a plan needs a hundredth of it. What is kept is real and
//! unchanged: the structs whose members fdtrace reads, whole, with everything they embed by value.
//! Structs that are only pointed to become forward declarations. Nothing is interpreted here; the
//! tests ask the small BTF and the full one the same questions.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

/// Structs that are wanted beside those of the offset table: what other hops may come to read.
const MORE_STRUCTS: [&str; 4] = [
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

    let mut selection = Selection {
        full: &full,
        whole: BTreeSet::new(),
        forward: BTreeSet::new(),
    };
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

/// The kinds of type that matter here (`include/uapi/linux/btf.h`).
struct Kind;

impl Kind {
    const INT: u32 = 1;
    const PTR: u32 = 2;
    const ARRAY: u32 = 3;
    const STRUCT: u32 = 4;
    const UNION: u32 = 5;
    const ENUM: u32 = 6;
    const FWD: u32 = 7;
    const TYPEDEF: u32 = 8;
    const VOLATILE: u32 = 9;
    const CONST: u32 = 10;
    const RESTRICT: u32 = 11;
    const FUNC: u32 = 12;
    const FUNC_PROTO: u32 = 13;
    const VAR: u32 = 14;
    const DATASEC: u32 = 15;
    const FLOAT: u32 = 16;
    const DECL_TAG: u32 = 17;
    const TYPE_TAG: u32 = 18;
    const ENUM64: u32 = 19;
}

/// A type as it is stored: three words and a body of words.
#[derive(Clone)]
struct Raw {
    name: u32,
    /// Number of body elements in bits 0 to 15, kind in 24 to 28, a flag in 31.
    info: u32,
    /// Depends on the kind.
    size_or_type: u32,
    body: Vec<u32>,
}

impl Raw {
    fn kind(&self) -> u32 {
        self.info >> 24 & 0x1F
    }

    /// The words that hold ids of types.
    fn references(&mut self) -> Vec<&mut u32> {
        match self.kind() {
            Kind::PTR
            | Kind::TYPEDEF
            | Kind::VOLATILE
            | Kind::CONST
            | Kind::RESTRICT
            | Kind::FUNC
            | Kind::TYPE_TAG => vec![&mut self.size_or_type],
            Kind::ARRAY => self.body.iter_mut().take(2).collect(),
            Kind::STRUCT | Kind::UNION => self.body.iter_mut().skip(1).step_by(3).collect(),
            Kind::FUNC_PROTO => {
                let params = self.body.iter_mut().skip(1).step_by(2);
                std::iter::once(&mut self.size_or_type)
                    .chain(params)
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// The words that hold offsets of strings.
    fn strings(&mut self) -> Vec<&mut u32> {
        let stride = match self.kind() {
            Kind::STRUCT | Kind::UNION | Kind::ENUM64 => 3,
            Kind::ENUM | Kind::FUNC_PROTO => 2,
            _ => return vec![&mut self.name],
        };
        std::iter::once(&mut self.name)
            .chain(self.body.iter_mut().step_by(stride))
            .collect()
    }
}

/// A kernel's BTF, taken apart.
struct Full<'a> {
    /// By id; the first stands for void.
    types: Vec<Raw>,
    strings: &'a [u8],
}

impl<'a> Full<'a> {
    fn parse(btf: &'a [u8]) -> Result<Self> {
        ensure!(btf.starts_with(&MAGIC.to_le_bytes()), "no BTF magic number");
        let header = words(btf.get(4..24).context("the header is cut short")?);
        let section = |offset: u32, len: u32| {
            let start = (header[0] + offset) as usize;
            btf.get(start..start + len as usize)
                .context("a section reaches past the end")
        };
        let mut rest = words(section(header[1], header[2])?).into_iter();
        let mut types = vec![Raw {
            name: 0,
            info: 0,
            size_or_type: 0,
            body: Vec::new(),
        }];
        while let Some(name) = rest.next() {
            let (Some(info), Some(size_or_type)) = (rest.next(), rest.next()) else {
                bail!("a type is cut short");
            };
            let vlen = (info & 0xFFFF) as usize;
            let body_len = match info >> 24 & 0x1F {
                Kind::INT | Kind::VAR | Kind::DECL_TAG => 1,
                Kind::ARRAY => 3,
                Kind::STRUCT | Kind::UNION | Kind::DATASEC | Kind::ENUM64 => 3 * vlen,
                Kind::ENUM | Kind::FUNC_PROTO => 2 * vlen,
                Kind::PTR
                | Kind::FWD
                | Kind::TYPEDEF
                | Kind::VOLATILE
                | Kind::CONST
                | Kind::RESTRICT
                | Kind::FUNC
                | Kind::FLOAT
                | Kind::TYPE_TAG => 0,
                kind => bail!("unknown kind of type {kind}"),
            };
            let body: Vec<_> = rest.by_ref().take(body_len).collect();
            ensure!(body.len() == body_len, "a type is cut short");
            types.push(Raw {
                name,
                info,
                size_or_type,
                body,
            });
        }
        Ok(Self {
            types,
            strings: section(header[3], header[4])?,
        })
    }

    fn get(&self, id: u32) -> Result<&Raw> {
        self.types
            .get(id as usize)
            .with_context(|| format!("no type {id}"))
    }

    fn name(&self, offset: u32) -> Result<&'a str> {
        let start = self
            .strings
            .get(offset as usize..)
            .context("a name outside the strings")?;
        let end = start.iter().position(|&byte| byte == 0);
        let name = &start[..end.context("a name without an end")?];
        str::from_utf8(name).context("a name that is not text")
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let (chunks, _) = bytes.as_chunks();
    chunks.iter().map(|&it| u32::from_le_bytes(it)).collect()
}

const MAGIC: u16 = 0xEB9F;

/// The types that go into the small BTF.
struct Selection<'a> {
    full: &'a Full<'a>,
    /// Kept as they are.
    whole: BTreeSet<u32>,
    /// Structs and unions that are pointed to: declared, unless they are kept for another reason.
    forward: BTreeSet<u32>,
}

impl Selection<'_> {
    /// Keeps a type and all that it refers to.
    fn keep(&mut self, root: u32) -> Result<()> {
        let mut pending = vec![(root, true)];
        let mut visited = BTreeSet::new();
        while let Some((id, by_value)) = pending.pop() {
            if id == 0 || !visited.insert((id, by_value)) {
                continue;
            }
            let mut ty = self.full.get(id)?.clone();
            let is_composite = matches!(ty.kind(), Kind::STRUCT | Kind::UNION);
            // A forward declaration needs a name.
            if is_composite && !by_value && ty.name != 0 {
                self.forward.insert(id);
                continue;
            }
            self.whole.insert(id);
            // Functions take and return structs by value too.
            let by_value =
                is_composite || ty.kind() == Kind::FUNC_PROTO || by_value && ty.kind() != Kind::PTR;
            pending.extend(ty.references().into_iter().map(|id| (*id, by_value)));
        }
        Ok(())
    }

    /// Writes the selected types in their old order.
    fn encode(&self) -> Result<Vec<u8>> {
        let ids: BTreeMap<u32, u32> = self.whole.union(&self.forward).copied().zip(1..).collect();
        let mut strings = Strings::default();
        let mut types = Vec::new();
        for &id in ids.keys() {
            let mut ty = self.full.get(id)?.clone();
            if !self.whole.contains(&id) {
                let is_union = u32::from(ty.kind() == Kind::UNION);
                ty.info = Kind::FWD << 24 | is_union << 31;
                ty.size_or_type = 0;
                ty.body.clear();
            }
            for reference in ty.references() {
                *reference = match *reference {
                    0 => 0,
                    id => *ids
                        .get(&id)
                        .with_context(|| format!("type {id} was left out"))?,
                };
            }
            for string in ty.strings() {
                *string = strings.add(self.full.name(*string)?);
            }
            types.extend([ty.name, ty.info, ty.size_or_type]);
            types.append(&mut ty.body);
        }
        Ok(assemble(&types, &strings.bytes))
    }
}

/// The string section: each string once, the empty one first.
struct Strings {
    bytes: Vec<u8>,
    offsets: HashMap<String, u32>,
}

impl Default for Strings {
    fn default() -> Self {
        Self {
            bytes: vec![0],
            offsets: HashMap::from([(String::new(), 0)]),
        }
    }
}

impl Strings {
    fn add(&mut self, string: &str) -> u32 {
        if let Some(&offset) = self.offsets.get(string) {
            return offset;
        }
        let offset = self.bytes.len() as u32;
        self.bytes.extend(string.bytes().chain([0]));
        self.offsets.insert(string.to_owned(), offset);
        offset
    }
}

/// Puts header, types and strings together.
fn assemble(types: &[u32], strings: &[u8]) -> Vec<u8> {
    const VERSION: u8 = 1;
    const HEADER_LEN: u32 = 24;
    let types_len = 4 * types.len() as u32;

    let mut btf = Vec::from(MAGIC.to_le_bytes());
    btf.extend([VERSION, 0]);
    for word in [HEADER_LEN, 0, types_len, types_len, strings.len() as u32] {
        btf.extend(word.to_le_bytes());
    }
    btf.extend(types.iter().flat_map(|word| word.to_le_bytes()));
    btf.extend(strings);
    btf
}

#[cfg(test)]
mod tests {
    use fdtrace::kernel::{TypeError, Types};

    use super::*;

    const FUNCTIONS: [&str; 8] = [
        "__scm_send",
        "__scm_destroy",
        "scm_detach_fds",
        "scm_recv_one_fd",
        "receive_fd",
        "unix_gc",
        "unix_stream_read_actor",
        "____sys_recvmsg",
    ];

    /// All that fdtrace may ask, and the answers as text, refusals included.
    fn answers(types: &Types) -> Vec<String> {
        macro_rules! paths {
            ($($name:ident $path:literal $size:literal;)*) => { [$($path),*] };
        }
        let more = [
            "file.f_ref",
            "file.f_count",
            "scm_fp_list.dead",
            "unix_sock.scm_stat.nr_fds",
            "scm_cookie.fp",
            "msghdr.msg_control",
            "unix_stream_read_state.flags",
            "user_msghdr.msg_controllen",
            "no_such_type.member",
        ];
        let text = |question: &str, answer: Result<String, TypeError>| {
            let answer = answer.unwrap_or_else(|error| error.to_string());
            format!("{question}: {answer}")
        };
        let mut answers = Vec::new();
        for path in fdtrace_common::for_each_offset!(paths)
            .into_iter()
            .chain(more)
        {
            let member = types.member(path);
            answers.push(text(path, member.map(|member| format!("{member:?}"))));
        }
        for name in wanted_structs() {
            answers.push(text(name, types.size_of(name).map(|size| size.to_string())));
        }
        let prototypes = FUNCTIONS.into_iter().chain(ITERATORS);
        let prototypes = prototypes.map(|name| (name, types.function(name)));
        let tracepoints = TRACEPOINTS.map(|name| (name, types.tracepoint(name)));
        for (name, prototype) in prototypes.chain(tracepoints) {
            let prototype = prototype.map(|found| found.map(|found| found.to_string()));
            answers.push(text(name, prototype.map(|found| format!("{found:?}"))));
        }
        answers
    }

    #[test]
    fn the_small_btf_answers_as_the_full_one() {
        let path = "/sys/kernel/btf/vmlinux";
        let full = match fs::read(path) {
            Ok(full) => full,
            Err(error) => {
                println!("skipped: this kernel has no BTF to cut from: {path}: {error}");
                return;
            }
        };
        let small = extract(&full, &FUNCTIONS).expect("a kernel's BTF can be cut");
        let types = |btf| Types::from_bytes(btf).expect("it is BTF");

        let expected = answers(&types(&full));
        let found = answers(&types(&small));

        assert_eq!(found, expected);
        assert!(small.len() < full.len() / 50, "{} bytes", small.len());
        let has_offset = |line: &String| line.contains("offset: ");
        assert!(expected.iter().filter(|line| has_offset(line)).count() > 30);
        assert!(
            expected
                .iter()
                .any(|line| line.contains("struct sk_buff *"))
        );
    }

    #[test]
    fn only_what_is_wanted_is_kept() {
        let Ok(full) = fs::read("/sys/kernel/btf/vmlinux") else {
            println!("skipped: this kernel has no BTF to cut from");
            return;
        };
        let small = extract(&full, &["__scm_send"]).expect("a kernel's BTF can be cut");
        let types = Types::from_bytes(&small).expect("it is BTF");
        assert!(types.function("__scm_send").expect("it is sound").is_some());
        assert!(types.function("unix_gc").expect("it is sound").is_none());
        // A pointer to it is in `task_struct`.
        assert!(types.size_of("mm_struct").is_err());
    }

    #[test]
    fn a_cut_btf_is_refused() {
        for btf in [
            &b""[..],
            b"\x9f\xeb",
            b"\x9f\xeb\x01\0\x18\0\0\0",
            &[0xff; 64],
        ] {
            assert!(extract(btf, &[]).is_err());
        }
    }

    #[test]
    fn a_function_line_tells_symbols_from_clones() {
        let line = "sock_sendmsg  kallsyms=T,sock_sendmsg.cold ftrace=y | int sock_sendmsg()";
        let function = read_function(line).expect("it is a function");
        assert_eq!(function.kind, Some('T'));
        assert_eq!(function.clones, ["sock_sendmsg.cold"]);

        let function = read_function("scm_recv kallsyms=-,scm_recv.isra.0 btf=-");
        let function = function.expect("it is a function");
        assert_eq!(function.kind, None);
        assert_eq!(
            kallsyms(&[function]),
            "ffffffff81000000 T _stext\nffffffff81000400 t scm_recv.isra.0\n"
        );

        assert!(read_function("# columns: SYMBOL kallsyms=<type>").is_none());
        assert!(read_function("T:sys_enter raw_tp=ok").is_none());
    }
}
