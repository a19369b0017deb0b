//! Symbols of texts in the form of kallsyms.

use super::*;

const TEXT: &str = "\
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81001000 t scm_recv.constprop.0
ffffffff81001100 T sock_sendmsg
ffffffff81001200 t sock_sendmsg.cold
ffffffff81001280 t sock_sendmsg.part.0.isra.0
ffffffff810012f0 t __pfx_arch_weak
ffffffff81001300 W arch_weak
ffffffff82000000 D init_task
ffffffff82000008 B unix_socket_table
ffffffff82000010 r .LC0
0000000000004000 A fixed_percpu_data
ffffffffc0002000 t unix_gc\t[unix]
ffffffffc0001000 T fd_install\t[strange]
ffffffffc0003000 t fd_install\t[unix]
ffffffff81002000 T fd_install
";

fn symbols() -> Symbols {
    Symbols::parse(TEXT.as_bytes()).expect("the text is well formed")
}

#[test]
fn the_table_of_sockets_is_known_unless_it_is_hidden() {
    assert_eq!(symbols().unix_sockets(), Some(0xffff_ffff_8200_0008));
    let hidden = "0000000000000000 B unix_socket_table\n";
    let hidden = Symbols::parse(hidden.as_bytes()).expect("the text is well formed");
    assert_eq!(hidden.unix_sockets(), None);
    assert_eq!(Symbols::default().unix_sockets(), None);
}

#[test]
fn a_clone_is_not_the_function() {
    let symbols = symbols();
    assert_eq!(symbols.exact("scm_recv"), None);
    assert_eq!(symbols.clones("scm_recv"), ["scm_recv.constprop.0"]);
    assert_eq!(
        symbols.exact("sock_sendmsg").map(|symbol| symbol.address),
        Some(0xffff_ffff_8100_1100)
    );
    assert_eq!(
        symbols.clones("sock_sendmsg"),
        ["sock_sendmsg.cold", "sock_sendmsg.part.0.isra.0"]
    );
    assert_eq!(symbols.clones("fd_install"), Vec::<&str>::new());
    assert_eq!(
        symbols
            .exact("scm_recv.constprop.0")
            .map(|symbol| symbol.kind),
        Some('t')
    );
}

#[test]
fn the_kernel_comes_before_its_modules() {
    let symbols = symbols();
    let fd_install = symbols.exact("fd_install").expect("it is listed");
    assert_eq!((fd_install.kind, fd_install.module), ('T', None));
    let unix_gc = symbols.exact("unix_gc").expect("it is listed");
    assert_eq!((unix_gc.kind, unix_gc.module), ('t', Some("unix")));
}

#[test]
fn an_address_belongs_to_the_nearest_function_below() {
    let symbols = symbols();
    let at = |address| symbols.symbolize(address);
    assert_eq!(at(0xffff_ffff_8100_1100), Some(("sock_sendmsg", 0)));
    assert_eq!(at(0xffff_ffff_8100_11ff), Some(("sock_sendmsg", 0xff)));
    assert_eq!(at(0xffff_ffff_8100_1300), Some(("arch_weak", 0)));
    let before_padding = ("sock_sendmsg.part.0.isra.0", 0x7f);
    assert_eq!(at(0xffff_ffff_8100_12ff), Some(before_padding));
    assert_eq!(at(0xffff_ffff_c000_2fff), Some(("unix_gc", 0xfff)));
    assert_eq!(at(0xffff_ffff_8100_0008), Some(("_stext", 8)));
}

#[test]
fn an_address_far_from_every_function_belongs_to_none() {
    let symbols = symbols();
    assert_eq!(symbols.symbolize(0), None);
    assert_eq!(symbols.symbolize(0xffff_ffff_8000_0000), None);
    assert_eq!(symbols.symbolize(0xffff_ffff_8200_0008), None, "data");
    assert_eq!(symbols.symbolize(u64::MAX), None);
}

#[test]
fn hidden_addresses_name_no_function() {
    let text = "0000000000000000 T __scm_send\n0000000000000000 t unix_gc\n";
    let symbols = Symbols::parse(text.as_bytes()).expect("the text is well formed");
    assert!(symbols.addresses_hidden());
    assert!(symbols.exact("unix_gc").is_some(), "names are still known");
    assert_eq!(symbols.symbolize(0), None);
    assert_eq!(symbols.symbolize(0x10), None);
    assert_eq!(symbols.symbolize(0xffff_ffff_8100_1100), None);
    assert!(!self::symbols().addresses_hidden());
    assert!(Symbols::default().addresses_hidden());
}

/// Hands out a few bytes at a time, as procfs cuts its text anywhere.
struct Dribble<'a>(&'a [u8]);

impl Read for Dribble<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.0.len().min(buf.len()).min(7);
        let (now, later) = self.0.split_at(len);
        buf[..len].copy_from_slice(now);
        self.0 = later;
        Ok(len)
    }
}

#[test]
fn lines_may_arrive_in_pieces() {
    let pieces = Symbols::parse(Dribble(TEXT.as_bytes())).expect("the text is well formed");
    assert_eq!(pieces.len(), symbols().len());
    assert_eq!(pieces.names, symbols().names);
}

#[test]
fn other_text_is_refused() {
    for text in [
        "hello\n",
        "zzzz T name\n",
        "ffffffff81000000 T name [unix]\n",
        "ffffffff81000000 TT name\n",
        "ffffffff81000000\n",
    ] {
        assert!(Symbols::parse(text.as_bytes()).is_err(), "{text:?}");
    }
    let endless = "x".repeat(200_000);
    assert!(Symbols::parse(endless.as_bytes()).is_err());
    assert!(Symbols::parse(&[0xff, 0xfe, b'\n'][..]).is_err());
}
