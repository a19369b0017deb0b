//! What the pure parts take: records to events, events to transfers, transfers to text, and a kernel's
//! types and symbols to a plan. `cargo bench -p fdtrace`, or with `-- tracker` a part of it.
//!
//! What watching costs the watched is measured by `cargo xtask bench`.

use std::fs;

use divan::{Bencher, counter::ItemsCount};
use fdtrace::{
    kernel::{Symbols, Types},
    model::{Losses, PointerStyle, Pointers},
    plan::{Attach, plan},
    report::{Json, Text},
    wire::{self, decode},
};
use fdtrace_testkit::{
    Event, Passing, RECVMSG,
    kernels::{directory, fixture},
    outcomes::{all_outcomes, write},
    tracker,
};

const MESSAGES: u64 = 1000;

fn main() {
    divan::main();
}

/// Message after message, each with addresses of its own.
fn course(of: impl Fn(&Passing, u64) -> Vec<Event>) -> Vec<Event> {
    let message = |number: u64| Passing {
        list: 0xffff_8881_0000_0000 + number * 0x1000,
        ..Passing::one()
    };
    (0..MESSAGES)
        .flat_map(|number| of(&message(number), 1000 * (number + 1)))
        .collect()
}

fn by_tracepoints(message: &Passing, t_ns: u64) -> Vec<Event> {
    message.delivered(t_ns)
}

fn by_functions(message: &Passing, t_ns: u64) -> Vec<Event> {
    [
        message.copied(t_ns),
        message.attached(t_ns + 10, 0),
        message.edged(t_ns + 20),
        message.dequeued(t_ns + 30),
        message.detached(t_ns + 40),
        message.installed(t_ns + 50, 0, message.receiver_fd),
        message.released(t_ns + 60, message.receiver, RECVMSG),
    ]
    .concat()
}

#[divan::bench]
fn decoding(bencher: Bencher<'_, '_>) {
    let records: Vec<Vec<u8>> = course(by_tracepoints).iter().map(Event::bytes).collect();
    bencher.counter(ItemsCount::new(records.len())).bench(|| {
        records
            .iter()
            .filter(|record| decode(divan::black_box(record)).is_ok())
            .count()
    });
}

fn track(bencher: Bencher<'_, '_>, course: &[Event]) {
    let course: Vec<wire::Record> = course.iter().cloned().map(Into::into).collect();
    bencher
        .counter(ItemsCount::new(course.len()))
        .with_inputs(|| course.clone())
        .bench_values(|course| {
            let mut tracker = tracker();
            course.into_iter().for_each(|event| tracker.apply(event));
            tracker.close_open();
            tracker.take_closed()
        });
}

#[divan::bench]
fn tracker_by_tracepoints(bencher: Bencher<'_, '_>) {
    track(bencher, &course(by_tracepoints));
}

#[divan::bench]
fn tracker_by_functions(bencher: Bencher<'_, '_>) {
    track(bencher, &course(by_functions));
}

#[divan::bench]
fn report_as_text(bencher: Bencher<'_, '_>) {
    let outcomes = all_outcomes();
    bencher.bench(|| {
        let mut bytes = Vec::new();
        let text = Text::new(&mut bytes, Pointers::new(PointerStyle::Raw, 0), true);
        write(text, "7.3", &outcomes, Losses::default());
        bytes
    });
}

#[divan::bench]
fn report_as_json(bencher: Bencher<'_, '_>) {
    let outcomes = all_outcomes();
    bencher.bench(|| {
        let mut bytes = Vec::new();
        let json = Json::new(&mut bytes, Pointers::new(PointerStyle::Raw, 0), true);
        write(json, "7.3", &outcomes, Losses::default());
        bytes
    });
}

#[divan::bench]
fn kernel_types(bencher: Bencher<'_, '_>) {
    let btf = fs::read(directory("6.12").join("btf")).expect("the fixture is there");
    bencher.bench(|| Types::from_bytes(&btf).expect("it is BTF"));
}

#[divan::bench]
fn kernel_symbols(bencher: Bencher<'_, '_>) {
    let kallsyms = fs::read_to_string(directory("6.12").join("kallsyms"));
    let kallsyms = kallsyms.expect("the fixture is there");
    bencher.bench(|| Symbols::parse(kallsyms.as_bytes()));
}

#[divan::bench]
fn kernel_plan(bencher: Bencher<'_, '_>) {
    let view = fixture("6.12");
    bencher.bench(|| plan(&view, Attach::Auto).expect("it can be planned for"));
}
