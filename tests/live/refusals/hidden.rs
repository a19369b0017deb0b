//! A kernel that hides where its functions are (`kernel.kptr_restrict`).

use fdtrace::kernel::{KernelView, Namer, Naming, Symbols};
use fdtrace_testkit::take_turn;

/// Functions with one name each that are far longer than what is added to their address.
const FUNCTIONS: [&str; 6] = [
    "unix_release_sock",
    "unix_stream_read_generic",
    "unix_dgram_sendmsg",
    "kfree",
    "vfs_read",
    "do_exit",
];

#[test]
fn the_kernel_names_the_same_functions_as_its_symbols() {
    let _turn = take_turn!(tracing);
    let view = KernelView::live().expect("this kernel can be looked at");
    // Nothing is known of where anything is.
    let naming = Naming::live(&Symbols::default(), &view.types, None);
    assert!(matches!(naming, Naming::Asked(_)), "{naming:?}");
    let asked = Namer::new(Symbols::default(), naming);
    let addresses = FUNCTIONS.map(|name| {
        let symbol = view.symbols.exact(name).expect("every kernel has it");
        symbol.address
    });
    // The control.
    assert!(
        matches!(view.naming, Naming::Shown),
        "addresses are hidden from this test"
    );
    let known = Namer::new(view.symbols, view.naming);
    for (name, address) in FUNCTIONS.iter().zip(addresses) {
        for namer in [&known, &asked] {
            let within = namer.name(address + 8);
            assert_eq!(within.as_deref(), Some(*name), "{namer:?}");
        }
        // Again, by what it has answered.
        assert_eq!(asked.name(address + 8).as_deref(), Some(*name));
    }
    // No function is there.
    assert_eq!(asked.name(0x1000), None);
}
