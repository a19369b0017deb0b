//! Questions to BTF blobs of a few types, written by hand.

mod blob;

use blob::*;

use super::*;

fn message<T: fmt::Debug>(answer: Result<T, TypeError>) -> String {
    answer.expect_err("it has no answer").to_string()
}

#[test]
fn members_are_found_through_anonymous_structs_typedefs_and_qualifiers() {
    let mut blob = Blob::new();
    let long = blob.int("long", 8);
    let short = blob.int("short", 2);
    let volatile = blob.add(VOLATILE, "", short, &[]);
    let hidden = blob.composite(STRUCT, "", 16, &[("a", long, 0), ("b", volatile, 64)]);
    let either = blob.composite(UNION, "", 16, &[("raw", long, 0), ("", hidden, 0)]);
    let named = blob.composite(STRUCT, "inner", 16, &[("", either, 0)]);
    let alias = blob.add(TYPEDEF, "inner_t", named, &[]);
    let tagged = blob.add(TYPE_TAG, "tag", alias, &[]);
    let constant = blob.add(CONST, "", tagged, &[]);
    blob.composite(STRUCT, "outer", 40, &[("x", long, 0), ("in", constant, 64)]);
    let types = blob.types();

    let at = |offset, size| Member { offset, size };
    let member = |path| types.member(path).expect("it is there");
    assert_eq!(member("outer.in"), at(8, 16));
    assert_eq!(member("outer.in.b"), at(16, 2));
    assert_eq!(member("outer.in.raw"), at(8, 8));
    assert_eq!(member("inner.a"), at(0, 8));
    assert_eq!(
        member("inner_t.b"),
        at(8, 2),
        "a typedef names a struct too"
    );
    assert_eq!(types.size_of("inner_t").expect("it has a size"), 16);
    assert_eq!(types.size_of("short").expect("it has a size"), 2);
}

#[test]
fn sizes_are_those_of_pointers_and_arrays() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let file = blob.add(FWD, "file", 0, &[]);
    let pointer = blob.add(PTR, "", file, &[]);
    let list = blob.add(ARRAY, "", 0, &[pointer, int, 253]);
    let flexible = blob.add(ARRAY, "", 0, &[file, int, 0]);
    let members = [
        ("p", pointer, 0),
        ("fp", list, 64),
        ("rest", flexible, 16256),
    ];
    blob.composite(STRUCT, "list", 2032, &members);
    let types = blob.types();

    let size = |path| types.member(path).expect("it is there").size;
    assert_eq!(
        (size("list.p"), size("list.fp"), size("list.rest")),
        (8, 2024, 0)
    );
}

#[test]
fn a_missing_type_or_member_is_named() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let pointer = blob.add(PTR, "", 0, &[]);
    blob.composite(
        STRUCT,
        "sock",
        16,
        &[("sk_type", int, 0), ("sk_socket", pointer, 64)],
    );
    let types = blob.types();

    assert_eq!(
        message(types.member("inode.i_ino")),
        "this kernel has no type inode"
    );
    assert_eq!(
        message(types.size_of("inode")),
        "this kernel has no type inode"
    );
    for path in [
        "sock.sk_typ",
        "sock.sk_type.more",
        "sock.sk_socket.file",
        "sock.",
        "sock",
    ] {
        let error = types.member(path).expect_err("it is not there");
        assert!(matches!(error, TypeError::NoSuchMember { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!("this kernel has no member {path}")
        );
        assert!(error.hint().is_some());
    }
    assert_eq!(types.function("sock").expect("it is sound"), None);
    assert_eq!(types.tracepoint("sock").expect("it is sound"), None);
}

#[test]
fn a_resized_member_is_an_error_with_both_sizes() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    blob.composite(STRUCT, "inode", 8, &[("i_ino", int, 32)]);
    let types = blob.types();

    assert_eq!(
        message(types.member_of_size("inode.i_ino", 8)),
        "inode.i_ino takes 4 bytes where 8 were expected"
    );
    let same = types
        .member_of_size("inode.i_ino", 4)
        .expect("it has this size");
    assert_eq!(same, Member { offset: 4, size: 4 });
}

#[test]
fn definitions_that_differ_are_ambiguous_where_they_differ() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let long = blob.int("long", 8);
    blob.composite(
        STRUCT,
        "node",
        16,
        &[("same", int, 0), ("moved", int, 32), ("wider", int, 64)],
    );
    blob.composite(
        STRUCT,
        "node",
        16,
        &[("same", int, 0), ("moved", int, 96), ("wider", long, 64)],
    );
    blob.composite(
        STRUCT,
        "node",
        16,
        &[("same", int, 0), ("moved", int, 32), ("third", int, 64)],
    );
    blob.add(FWD, "node", 0, &[]);
    let types = blob.types();

    assert_eq!(types.member("node.same").expect("all agree").offset, 0);
    assert_eq!(types.size_of("node").expect("all agree"), 16);
    for path in ["node.moved", "node.wider", "node.third"] {
        assert_eq!(
            message(types.member(path)),
            format!("{path} is ambiguous: this kernel has 3 definitions that differ")
        );
    }
    assert_eq!(
        message(types.member("node.none")),
        "this kernel has no member node.none"
    );
}

#[test]
fn static_functions_of_one_name_must_agree() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let pairs = [
        ("init", blob.proto(0, &[("x", int)])),
        ("init", blob.proto(0, &[("y", int)])),
        ("show", blob.proto(0, &[("x", int)])),
        ("show", blob.proto(int, &[("x", int)])),
    ];
    for (name, proto) in pairs {
        blob.add(FUNC, name, proto, &[]);
    }
    let types = blob.types();
    let init = types
        .function("init")
        .expect("all agree")
        .expect("it is there");
    assert_eq!(init.to_string(), "void (int x)", "names may differ");
    assert_eq!(
        message(types.function("show")),
        "show is ambiguous: this kernel has 2 definitions that differ"
    );
}

#[test]
fn a_bit_field_has_no_address() {
    let mut blob = Blob::new();
    let byte = blob.int("u8", 1);
    let mut body = Vec::new();
    for (name, bits) in [("whole", 0), ("flag", 8 | 1 << 24), ("odd", 12)] {
        body.extend([blob.string(name), byte, bits]);
    }
    blob.add_counted(STRUCT, 3 | SIZED_BITS, "flags", 2, &body);
    let types = blob.types();

    assert_eq!(types.member("flags.whole").expect("it is a byte").size, 1);
    assert_eq!(
        message(types.member("flags.flag")),
        "flags.flag is a bit field"
    );
    assert_eq!(
        message(types.member("flags.odd")),
        "flags.odd is a bit field"
    );
}

#[test]
fn prototypes_read_like_c_without_qualifiers() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let sock = blob.add(FWD, "sock", 0, &[]);
    let constant = blob.add(CONST, "", sock, &[]);
    let pointer = blob.add(PTR, "", constant, &[]);
    let double = blob.add(PTR, "", pointer, &[]);
    let callback = blob.proto(int, &[("", pointer), ("", 0)]);
    let callback = blob.add(PTR, "", callback, &[]);
    let array = blob.add(ARRAY, "", 0, &[int, int, 4]);
    let array = blob.add(PTR, "", array, &[]);
    let anonymous = blob.composite(UNION, "", 4, &[("x", int, 0)]);
    let size = blob.add(TYPEDEF, "size_t", int, &[]);
    let pointer_to_void = blob.add(PTR, "", 0, &[]);
    let proto = blob.proto(
        pointer_to_void,
        &[
            ("sk", pointer),
            ("all", double),
            ("", callback),
            ("", array),
            ("either", anonymous),
            ("len", size),
            ("", 0),
        ],
    );
    blob.add(FUNC, "all_sorts", proto, &[]);
    let handler = blob.proto(0, &[("", pointer_to_void), ("skb", pointer), ("len", int)]);
    let handler = blob.add(PTR, "", handler, &[]);
    blob.add(TYPEDEF, "btf_trace_some_event", handler, &[]);
    let types = blob.types();

    let function = types.function("all_sorts").expect("it is sound");
    assert_eq!(
        function.expect("it is there").to_string(),
        "void * (struct sock *sk, struct sock **all, int (*)(struct sock *, ...), int (*)[4], \
         union {…} either, size_t len, ...)"
    );
    let tracepoint = types.tracepoint("some_event").expect("it is sound");
    assert_eq!(
        tracepoint.expect("it is there").to_string(),
        "void (struct sock *skb, int len)"
    );
}

#[test]
fn types_that_contain_each_other_are_malformed() {
    let mut blob = Blob::new();
    // Ids are handed out from 1, so these point at themselves and at each other.
    blob.add(TYPEDEF, "loop", 1, &[]);
    blob.composite(STRUCT, "doll", 8, &[("", 2, 0), ("", 2, 0), ("x", 1, 0)]);
    let int = blob.int("int", 4);
    blob.add(ARRAY, "", 0, &[4, int, 2]);
    blob.composite(STRUCT, "list", 8, &[("all", 4, 0)]);
    blob.add(PTR, "", 7, &[]);
    blob.proto(6, &[("", 6), ("", 6)]);
    blob.add(FUNC, "mirror", 7, &[]);
    blob.add(FUNC, "no_proto", int, &[]);
    blob.add(TYPEDEF, "btf_trace_odd", int, &[]);
    let no_params = blob.proto(0, &[]);
    let no_params = blob.add(PTR, "", no_params, &[]);
    blob.add(TYPEDEF, "btf_trace_bare", no_params, &[]);
    let types = blob.types();

    let is_malformed = |error: TypeError| matches!(error, TypeError::Malformed(_));
    assert!(types.size_of("loop").is_err_and(is_malformed));
    assert!(types.member("loop.x").is_err_and(is_malformed));
    assert!(types.member("doll.missing").is_err_and(is_malformed));
    assert!(types.member("list.all").is_err_and(is_malformed));
    assert!(types.function("mirror").is_err_and(is_malformed));
    assert!(types.function("no_proto").is_err_and(is_malformed));
    assert!(types.tracepoint("odd").is_err_and(is_malformed));
    assert!(types.tracepoint("bare").is_err_and(is_malformed));
}

#[test]
fn an_array_too_large_for_an_offset_is_malformed() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let row = blob.add(ARRAY, "", 0, &[int, int, u32::MAX]);
    let table = blob.add(ARRAY, "", 0, &[row, int, u32::MAX]);
    blob.composite(STRUCT, "s", 8, &[("row", row, 0), ("table", table, 0)]);
    let types = blob.types();
    for path in ["s.row", "s.table"] {
        assert_eq!(
            message(types.member(path)),
            format!("malformed BTF: {path} is too large to be true")
        );
    }
}

#[test]
fn sections_outside_the_blob_are_malformed() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    blob.composite(STRUCT, "s", 8, &[("x", int, 0)]);
    let sound = blob.bytes();

    let with_word = |at: usize, word: u32| {
        let mut bytes = sound.clone();
        bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
        message(Types::from_bytes(&bytes))
    };
    // Header: length, type offset and length, string offset and length.
    assert!(with_word(4, 4).contains("header is too short"));
    assert!(with_word(8, u32::MAX).contains("type section"));
    assert!(with_word(12, u32::MAX).contains("type section"));
    assert!(with_word(16, u32::MAX).contains("string section"));
    assert!(with_word(20, 4).contains("not terminated"));
    // The first type: name, kind, size.
    assert!(with_word(24, 10_000).contains("type 1 has its name outside"));
    assert!(with_word(28, 31 << 24).contains("type 1 is of unknown kind 31"));
    // The second one announces more members than there are bytes.
    assert!(with_word(44, STRUCT << 24 | 500).contains("type 2 is cut short"));
}
