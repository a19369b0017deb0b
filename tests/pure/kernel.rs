//! The view of each recorded kernel against what was measured on that kernel while it ran.

mod damage;

use std::fs;

use aya::{Btf, Endianness};
use aya_obj::btf::BtfKind;
use fdtrace::kernel::{KernelError, KernelView, Prototype, Symbols, Target, TypeError, Types};
use fdtrace_testkit::kernels::{KERNELS, directory, fixture};
use proptest::prelude::*;

/// Offsets in the order of `KERNELS`; `None` where the kernel has no such member.
const OFFSETS: [(&str, [Option<u32>; 6]); 21] = {
    const fn all(offset: u32) -> [Option<u32>; 6] {
        [Some(offset); 6]
    }
    const fn each(offsets: [u32; 6]) -> [Option<u32>; 6] {
        let [a, b, c, d, e, f] = offsets;
        [Some(a), Some(b), Some(c), Some(d), Some(e), Some(f)]
    }
    [
        ("sk_buff.sk", all(24)),
        ("sk_buff.cb", all(40)),
        ("unix_skb_parms.fp", all(16)),
        ("scm_fp_list.fp", each([16, 40, 40, 40, 40, 40])),
        (
            "scm_fp_list.dead",
            [None, Some(7), Some(7), Some(7), Some(7), Some(7)],
        ),
        ("sock.__sk_common.skc_family", all(16)),
        (
            "sock.sk_receive_queue",
            each([208, 216, 168, 168, 168, 168]),
        ),
        ("sock.sk_socket", each([640, 624, 288, 288, 288, 288])),
        ("sock.sk_type", each([538, 514, 572, 534, 534, 542])),
        ("unix_sock.addr", each([760, 776, 776, 792, 784, 800])),
        (
            "unix_sock.scm_stat.nr_fds",
            each([1000, 1000, 1000, 1064, 1064, 1064]),
        ),
        ("unix_address.name", each([12, 8, 8, 8, 8, 8])),
        (
            "file.f_count",
            [Some(56), Some(56), Some(0), None, None, None],
        ),
        (
            "file.f_ref",
            [None, None, None, Some(176), Some(176), Some(168)],
        ),
        ("file.f_flags", each([64, 64, 48, 40, 40, 40])),
        ("file.private_data", each([200, 200, 32, 24, 24, 24])),
        (
            "task_struct.files",
            each([2808, 3048, 3048, 3320, 1824, 3488]),
        ),
        ("socket_alloc.vfs_inode.i_ino", all(192)),
        ("msghdr.msg_flags", each([80, 68, 68, 68, 68, 68])),
        ("pt_regs.orig_ax", all(120)),
        ("pt_regs.syscallno", [None; 6]),
    ]
};

/// Path and expected size of every member that the programs read.
macro_rules! offset_table {
    ($($name:ident $path:literal $size:literal;)*) => { [$(($path, $size)),*] };
}

fn btf(kernel: &str) -> Vec<u8> {
    fs::read(directory(kernel).join("btf")).expect("the fixture is there")
}

/// Asks for everything that fdtrace may ask for; only how it ends matters.
fn ask_everything(types: &Types) {
    for (path, size) in fdtrace_common::for_each_offset!(offset_table) {
        let _ = types.member_of_size(path, size);
        let _ = types.size_of(path.split('.').next().unwrap_or_default());
    }
    for name in ["__scm_send", "scm_detach_fds", "unix_gc", "fd_install"] {
        let _ = types.function(name);
    }
    for name in ["sys_enter", "consume_skb", "kfree_skb", "sk_data_ready"] {
        let _ = types.tracepoint(name);
    }
}

#[test]
fn every_offset_that_the_programs_read_resolves_on_every_kernel() {
    let mut wrong = Vec::new();
    for kernel in KERNELS {
        let types = fixture(kernel).types;
        for (path, size) in fdtrace_common::for_each_offset!(offset_table) {
            if let Err(error) = types.member_of_size(path, size) {
                wrong.push(format!("{kernel}: {error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn offsets_are_those_measured_on_each_kernel() {
    for (column, kernel) in KERNELS.into_iter().enumerate() {
        let types = fixture(kernel).types;
        for (path, offsets) in OFFSETS {
            match (types.member(path), offsets[column]) {
                (Ok(member), Some(offset)) => assert_eq!(member.offset, offset, "{kernel}: {path}"),
                (Err(TypeError::NoSuchMember { path: named }), None) => assert_eq!(named, path),
                (found, expected) => panic!("{kernel}: {path}: {found:?}, not {expected:?}"),
            }
        }
    }
}

#[test]
fn where_descriptors_can_be_refused_one_bit_says_so() {
    let bits = [None, None, None, Some(660), Some(652), Some(668)];
    for (kernel, byte) in KERNELS.into_iter().zip(bits) {
        match (fixture(kernel).types.bit("sock.sk_scm_rights"), byte) {
            (Ok(bit), Some(byte)) => assert_eq!(bit, byte * 8 + 3, "{kernel}"),
            (Err(TypeError::NoSuchMember { .. }), None) => {}
            (found, expected) => panic!("{kernel}: {found:?}, not in byte {expected:?}"),
        }
    }
    // The control: a whole member is no bit.
    let whole = fixture("7.3").types.bit("sock.sk_type");
    assert!(matches!(whole, Err(TypeError::NoBit { .. })), "{whole:?}");
}

#[test]
fn whole_structs_have_the_size_measured_on_each_kernel() {
    let sizes = [
        ("sk_buff", [224, 232, 232, 232, 224, 232]),
        ("scm_fp_list", [2040, 2064, 2064, 2064, 2064, 2064]),
        ("unix_sock", [1024, 1024, 1024, 1152, 1152, 1152]),
        ("task_struct", [9344, 9728, 9792, 5888, 3264, 6144]),
        ("file", [256, 232, 184, 184, 184, 176]),
    ];
    for (column, kernel) in KERNELS.into_iter().enumerate() {
        let types = fixture(kernel).types;
        for (name, sizes) in sizes {
            let size = types.size_of(name).expect("it is there");
            assert_eq!(size, sizes[column], "{kernel}: {name}");
        }
    }
}

#[test]
fn prototypes_are_those_of_each_kernel() {
    let send = "int (struct socket *sock, struct msghdr *msg, struct scm_cookie *p)";
    let detach = "void (struct msghdr *msg, struct scm_cookie *scm)";
    let detach_or_not = "void (struct msghdr *msg, struct scm_cookie *scm, bool notrunc)";
    let receive = "int (struct file *file, int *ufd, unsigned int o_flags)";
    let receive_without_ufd = "int (struct file *file, unsigned int o_flags)";
    let collect = "void (void)";
    let collect_work = "void (struct work_struct *work)";

    let since = |first: usize, old: Option<&'static str>, new: &'static str| {
        [0, 1, 2, 3, 4, 5].map(|column| if column < first { old } else { Some(new) })
    };
    let mut receive_fd = since(2, None, receive);
    receive_fd[1] = Some(receive_without_ufd);
    let functions = [
        ("__scm_send", [Some(send); 6]),
        ("scm_detach_fds", since(5, Some(detach), detach_or_not)),
        ("receive_fd", receive_fd),
        ("unix_gc", since(5, Some(collect), collect_work)),
        (
            "bpf_iter_unix",
            since(
                1,
                None,
                "int (struct bpf_iter_meta *meta, struct unix_sock *unix_sk, uid_t uid)",
            ),
        ),
    ];

    let consume = "void (struct sk_buff *)";
    let consume_at = "void (struct sk_buff *, void *)";
    let tracepoints = [
        ("sk_data_ready", since(2, None, "void (struct sock *)")),
        ("consume_skb", since(2, Some(consume), consume_at)),
        (
            "skb_copy_datagram_iovec",
            [Some("void (struct sk_buff *, int)"); 6],
        ),
        ("sys_enter", [Some("void (struct pt_regs *, long int)"); 6]),
    ];

    for (column, kernel) in KERNELS.into_iter().enumerate() {
        let types = fixture(kernel).types;
        let check = |name: &str, found: Option<Prototype>, expected: [Option<&str>; 6]| {
            let found = found.map(|prototype| prototype.to_string());
            assert_eq!(found.as_deref(), expected[column], "{kernel}: {name}");
        };
        for (name, expected) in functions {
            check(
                name,
                types.function(name).expect("one definition"),
                expected,
            );
        }
        for (name, expected) in tracepoints {
            check(
                name,
                types.tracepoint(name).expect("one definition"),
                expected,
            );
        }
    }
}

#[test]
fn every_function_that_a_fixture_lists_has_one_prototype_at_most() {
    for kernel in KERNELS {
        let types = fixture(kernel).types;
        let kallsyms = fs::read_to_string(directory(kernel).join("kallsyms"));
        for line in kallsyms.expect("the fixture is there").lines() {
            let name = line.rsplit(' ').next().unwrap_or_default();
            if let Err(error) = types.function(name) {
                panic!("{kernel}: {error}");
            }
        }
    }
}

#[test]
fn inlined_functions_are_not_symbols_and_clones_are_not_functions() {
    for kernel in KERNELS {
        let symbols = fixture(kernel).symbols;
        assert_eq!(symbols.exact("scm_fp_copy"), None, "{kernel}");
        assert_eq!(symbols.exact("unix_attach_fds").is_some(), kernel == "5.10");
        let scm_send = symbols.exact("__scm_send").expect("every kernel has it");
        assert_eq!(scm_send.kind, 'T');
        assert_eq!(
            symbols.symbolize(scm_send.address + 0x42),
            Some(("__scm_send", 0x42))
        );
    }
    let symbols = fixture("6.1").symbols;
    assert_eq!(symbols.exact("scm_recv"), None);
    assert_eq!(symbols.clones("scm_recv"), ["scm_recv.constprop.0"]);
    // Described by the BTF, and yet there is nothing to attach to.
    let view = fixture("7.3");
    assert_eq!(view.symbols.exact("__scm_recv_common"), None);
    assert_eq!(view.symbols.clones("__scm_recv_common").len(), 1);
    assert!(
        view.types
            .function("__scm_recv_common")
            .expect("one definition")
            .is_some()
    );
}

#[test]
fn a_fixture_describes_its_own_machine() {
    let old = fixture("5.10");
    assert_eq!(old.release, "5.10.0-32-cloud-amd64");
    assert!(!old.lsms.contains(&"bpf".to_owned()));
    assert_eq!(old.lockdown.as_deref(), Some("none"));
    assert_eq!((old.kptr_restrict, old.init_pid_namespace), (0, true));
    assert_eq!(old.capabilities.lacking_for_tracing(), None);

    let locked = fixture("6.18-locked");
    assert_eq!(locked.lockdown.as_deref(), Some("integrity"));
    assert!(fixture("7.3").lsms.contains(&"bpf".to_owned()));
}

#[test]
fn an_incomplete_or_wrong_fixture_is_an_error_with_advice() {
    let dir = tempfile::tempdir().expect("there is a temporary directory");
    let load = || KernelView::fixture(dir.path()).expect_err("it is incomplete");
    let write = |name: &str, content: &[u8]| {
        fs::write(dir.path().join(name), content).expect("the directory is writable");
    };

    assert!(matches!(load(), KernelError::Unreadable { .. }));
    for json in [
        "",
        "{}",
        r#"{"release":"1","capabilities":"some"}"#,
        r#"{"release":1}"#,
    ] {
        write("kernel.json", json.as_bytes());
        assert!(matches!(load(), KernelError::Fixture { .. }), "{json}");
    }
    write(
        "kernel.json",
        br#"{"release":"1","capabilities":["CAP_BPF"],"init_pid_namespace":false}"#,
    );
    let error = load();
    assert!(matches!(error, KernelError::NoBtf { .. }));
    assert!(error.hint().is_some());
    write("btf", &btf("6.1"));
    assert!(matches!(load(), KernelError::Unreadable { .. }));
    write("kallsyms", b"not a symbol\n");
    assert!(matches!(load(), KernelError::Unreadable { .. }));
    write("kallsyms", b"ffffffff81000000 T __scm_send\n");
    let view = KernelView::fixture(dir.path()).expect("it is complete");
    assert_eq!(
        view.capabilities.lacking_for_tracing().as_deref(),
        Some("CAP_PERFMON and CAP_SYS_PTRACE")
    );
    assert!(!view.init_pid_namespace);
    write("btf", b"no BTF");
    assert!(matches!(
        load(),
        KernelError::Types(TypeError::Malformed(_))
    ));
}

#[test]
fn this_kernel_gives_every_offset_that_the_programs_read() {
    if let Err(error) = fs::metadata("/sys/kernel/btf/vmlinux") {
        println!("skipped: this kernel has no BTF: {error}");
        return;
    }
    let view = KernelView::live().expect("there is BTF");
    for (path, size) in fdtrace_common::for_each_offset!(offset_table) {
        view.types
            .member_of_size(path, size)
            .unwrap_or_else(|error| panic!("{}: {error}", view.release));
    }
    assert!(view.symbols.exact("__scm_send").is_some());
    assert!(view.symbols.len() > 10_000);
}

#[test]
fn the_loader_finds_the_ids_of_the_whole_btf_in_an_excerpt() {
    let targets = [
        (
            Target::Tracepoint("kfree_skb"),
            "btf_trace_kfree_skb",
            BtfKind::Typedef,
        ),
        (
            Target::Function("__scm_destroy"),
            "__scm_destroy",
            BtfKind::Func,
        ),
        (
            Target::Function("scm_detach_fds"),
            "scm_detach_fds",
            BtfKind::Func,
        ),
    ];
    for kernel in KERNELS {
        let whole = Btf::parse(&btf(kernel), Endianness::default()).expect("it is BTF");
        let excerpt = fixture(kernel)
            .types
            .excerpt(&targets.map(|(target, ..)| target))
            .unwrap_or_else(|error| panic!("{kernel}: {error}"));
        let excerpt = Btf::parse(&excerpt, Endianness::default()).expect("it is BTF");
        for (_, name, kind) in targets {
            let id = whole.id_by_type_name_kind(name, kind).expect("it is there");
            let found = excerpt.id_by_type_name_kind(name, kind);
            assert_eq!(found.expect("it is there too"), id, "{kernel}: {name}");
        }
        let other = excerpt.id_by_type_name_kind("__scm_send", BtfKind::Func);
        assert!(other.is_err(), "{kernel}: nobody asked for it");
    }
}

#[test]
fn an_excerpt_of_what_is_not_there_is_an_error() {
    let types = fixture("7.3").types;
    for target in [
        Target::Function("kfree_skb"),
        Target::Tracepoint("__scm_send"),
    ] {
        match types.excerpt(&[target]) {
            Err(TypeError::NoSuchType { .. }) => {}
            other => panic!("{target:?}: {other:?}"),
        }
    }
}
