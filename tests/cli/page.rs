//! The page that `fdtrace report` makes, and what `fdtrace replay` makes for other tools: whole, inert
//! whatever the traced machine called its programs, and usable in a browser.

use std::{fs, path::Path, process::Command};

use fdtrace::{
    model::Losses,
    recording::{End, Writer},
};
use fdtrace_testkit::{
    Event, Passing, UNIX_GC,
    browser::Browser,
    command::{fdtrace, run, skip},
    files_mut, head_mut,
    recordings::header,
};
use serde_json::Value;
use tempfile::TempDir;

fn write(path: &Path, messages: impl Iterator<Item = Vec<Event>>) {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    writer.symbol(UNIX_GC, "__unix_gc").unwrap();
    let mut t_ns = 1000;
    for event in messages.flatten() {
        let mut event = event;
        t_ns = t_ns.max(head_mut(&mut event).t_ns);
        writer.event(&event.bytes()).unwrap();
    }
    writer.pause(t_ns + 1).unwrap();
    let end = End {
        t_ns: t_ns + 2,
        command_status: Some(0),
        losses: Losses::default(),
        unread_at_end: None,
    };
    fs::write(path, writer.end(&end).unwrap()).unwrap();
}

/// Message `number` between processes of some names; every tenth is collected.
fn message(number: u64, comm: &[u8]) -> Vec<Event> {
    let base = Passing::one();
    let passing = Passing {
        list: base.list + number % 64 * 0x1000,
        skb: base.skb + number % 64 * 0x1000,
        sender: 100 + (number % 3) as u32,
        receiver: 200 + (number % 5) as u32,
        files: vec![base.files[0] + number * 0x100],
        ..base
    };
    let begin = 2000 + number * 1000;
    let mut events = if number % 10 == 9 {
        let mut events = passing.queued(begin);
        events.extend(passing.destroyed(begin + 500, UNIX_GC, 7));
        events
    } else {
        passing.delivered(begin)
    };
    for event in &mut events {
        let head = head_mut(event);
        head.comm = [0; 16];
        head.comm[..comm.len()].copy_from_slice(comm);
    }
    events
}

/// Names that would do harm where they are not made harmless.
const HOSTILE: [&[u8]; 6] = [
    b"</script><b id=x",
    b"<img onerror=x>",
    "\u{202e}evil\u{2066}".as_bytes(),
    b"\x1b[2J\r\nend",
    b"\"];//\\\n}->{",
    b"a;#b:c%%d",
];

struct Made {
    dir: TempDir,
}

impl Made {
    fn of(messages: impl Iterator<Item = Vec<Event>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("trace"), messages);
        Self { dir }
    }

    fn hostile() -> Self {
        Self::of((0..60).map(|number| message(number, HOSTILE[number as usize % HOSTILE.len()])))
    }

    fn replay(&self, format: &str) -> String {
        let recording = self.dir.path().join("trace");
        let args = ["replay", recording.to_str().unwrap(), "--format", format];
        let run = run(&mut fdtrace(&args));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{format}");
        run.stdout
    }

    fn page(&self) -> std::path::PathBuf {
        let page = self.dir.path().join("page.html");
        let recording = self.dir.path().join("trace");
        let args = [
            "report",
            recording.to_str().unwrap(),
            "-o",
            page.to_str().unwrap(),
        ];
        let run = run(&mut fdtrace(&args));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
        page
    }
}

fn assert_inert(text: &str, what: &str) {
    let acts = |char: char| {
        char.is_control() && char != '\n'
            || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(acts), "{what}");
}

#[test]
fn a_page_is_one_file_that_loads_nothing_and_runs_no_name() {
    let made = Made::hostile();
    let page = fs::read_to_string(made.page()).unwrap();
    assert_inert(&page, "the page");
    for foreign in ["http://", "https://", "src=", "@import", "url("] {
        let found = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!found.contains(foreign), "{foreign}");
    }
    // The two scripts are the page's own, and end where they should.
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(!page.contains("<img") && !page.contains("<b id"));
    let data = page.split("id=\"data\">").nth(1).unwrap();
    let data: Value = serde_json::from_str(data.split("</script>").next().unwrap()).unwrap();
    assert_eq!(data["transfers"].as_array().unwrap().len(), 60);
    let names = data["processes"].to_string();
    assert!(names.contains("</script><b id=x"), "{names}");
    assert!(names.contains("u{202e}evil"), "{names}");
}

#[test]
fn trace_events_have_what_the_format_asks_for() {
    let made = Made::hostile();
    let text = made.replay("perfetto");
    assert_inert(&text, "trace events");
    let trace: Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let mut open = 0;
    let mut last_of_slice = std::collections::BTreeMap::new();
    for event in events {
        for field in ["name", "ph", "ts", "pid", "tid"] {
            assert!(!event[field].is_null(), "no {field} in {event}");
        }
        assert!(event["ts"].as_f64().unwrap() >= 0.0, "{event}");
        match event["ph"].as_str().unwrap() {
            "X" => {
                assert!(event["dur"].as_f64().unwrap() > 0.0, "{event}");
                let key = (event["pid"].clone().to_string(), event["ts"].to_string());
                last_of_slice.insert(key, ());
            }
            "b" => open += 1,
            "e" => open -= 1,
            // An arrow begins and ends in a slice of the same thread and time.
            "s" | "f" => {
                let key = (event["pid"].to_string(), event["ts"].to_string());
                assert!(last_of_slice.contains_key(&key), "{event}");
                assert!(!event["id"].is_null(), "{event}");
            }
            "M" => assert!(event["args"]["name"].is_string(), "{event}"),
            other => panic!("{other}: {event}"),
        }
    }
    assert_eq!(open, 0, "a slice in a queue was left open");
    let slices = events.iter().filter(|event| event["ph"] == "X").count();
    assert_eq!(slices, 120, "two for each transfer");
}

#[test]
fn graphviz_reads_the_graph() {
    let made = Made::hostile();
    let graph = made.replay("dot");
    assert_inert(&graph, "the graph");
    assert!(graph.starts_with("digraph fdtrace {"));
    assert!(graph.contains("collected (garbage-collector)"), "{graph}");
    let file = made.dir.path().join("graph.dot");
    fs::write(&file, &graph).unwrap();
    let Ok(output) = Command::new("dot").arg("-Tplain").arg(&file).output() else {
        return skip("graphviz_reads_the_graph", "no dot: install graphviz");
    };
    assert!(output.status.success(), "{output:?}");
    let plain = String::from_utf8(output.stdout).unwrap();
    let nodes = plain
        .lines()
        .filter(|line| line.starts_with("node"))
        .count();
    assert_eq!(nodes, graph.matches("style=").count(), "{plain}");
}

#[test]
fn a_diagram_for_mermaid_has_a_line_for_each_end_and_no_stray_characters() {
    let made = Made::hostile();
    let diagram = made.replay("mermaid");
    assert_inert(&diagram, "the diagram");
    let mut lines = diagram.lines();
    assert_eq!(lines.next(), Some("sequenceDiagram"));
    let mut arrows = 0;
    for line in lines {
        let line = line.trim_start();
        if let Some(lane) = line.strip_prefix("participant ") {
            assert!(lane.contains(" as "), "{line}");
        } else {
            arrows += 1;
            let (ends, text) = line.split_once(": ").unwrap();
            assert!(
                ["->>", "-x"].iter().any(|arrow| ends.contains(arrow)),
                "{line}"
            );
            assert!(!text.contains([':', '"', '\\', '<', '>']), "{line}");
            // What is not plain goes by its code.
            let rest = text.replace(';', "");
            assert_eq!(text.len() - rest.len(), text.matches('#').count(), "{line}");
        }
    }
    assert_eq!(arrows, 120);
    assert!(diagram.contains("    participant s0") && diagram.contains("    participant r0"));
    // So does a word that Mermaid would take for its own.
    assert!(!diagram.contains(" end "), "{diagram}");
}

/// Types these words, and waits until they are heeded.
fn search(browser: &mut Browser, words: &str) {
    browser.evaluate(&format!(
        "new Promise(done => {{ const it = document.getElementById('filters').elements.search; \
         it.value = '{words}'; it.dispatchEvent(new Event('input', {{ bubbles: true }})); \
         setTimeout(done, 120) }})"
    ));
}

#[test]
fn each_fate_is_drawn_as_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.html");
    let recording = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/recordings/tracepoints.fdt"
    );
    let run = run(&mut fdtrace(&[
        "report",
        recording,
        "-o",
        page.to_str().unwrap(),
    ]));
    assert_eq!(run.code, Some(0), "{run:?}");
    let Some(mut browser) = Browser::open(&page) else {
        return skip(
            "each_fate_is_drawn_as_it_ended",
            "no chromium: install chromium",
        );
    };
    for width in [390, 1280] {
        browser.show(width, 900, "light");
        let texts = browser.evaluate(
            "[...document.querySelectorAll('#sequence text')].map(it => it.textContent).join('|')",
        );
        let texts = texts.as_str().unwrap();
        // A message is one arrow to the queue and one out of it.
        for text in [
            "9,12,13",
            "4,9,✗",
            "truncated: no-control-room",
            "14,15",
            "✗,✗",
            "discarded: plain-read",
            "truncated: rlimit-nofile",
            "discarded: receiver-closed",
            "4,23",
        ] {
            assert!(texts.contains(text), "{text} is not in {texts}");
        }
        let count = |browser: &mut Browser, what: &str| {
            browser.evaluate(&format!(
                "document.querySelectorAll('#sequence {what}').length"
            ))
        };
        assert_eq!(count(&mut browser, "path.arrow"), 10);
        // Four of five messages lost something: each in red, with a cross at the receiver.
        assert_eq!(count(&mut browser, "path.arrow.bad"), 4);
        assert_eq!(count(&mut browser, "path.lost-mark"), 4);
        // Nothing is beyond the drawing's edge, and the page no wider than the screen.
        assert_eq!(browser.evaluate("[...document.querySelectorAll('#sequence text')].every(it => \
            it.getBBox().x >= 0 && it.getBBox().x + it.getBBox().width <= it.ownerSVGElement.width.baseVal.value)"), true);
        assert_eq!(
            browser.evaluate("document.documentElement.scrollWidth <= innerWidth"),
            true
        );
        // No row is cut off.
        assert_eq!(
            browser.evaluate(
                "[...document.querySelectorAll('.row > .said, .row > .time')].every(it => \
            it.scrollWidth <= it.clientWidth && it.scrollHeight <= it.clientHeight + 2)"
            ),
            true,
            "{width}"
        );
    }
    search(&mut browser, "39446");
    assert_eq!(
        browser.evaluate("document.getElementById('shown').textContent"),
        "1 of 11 transfers"
    );
    search(&mut browser, "access.log");
    assert_eq!(
        browser.evaluate("document.getElementById('shown').textContent"),
        "2 of 11 transfers"
    );
    // The stepped picture: in front of the end the message lies in the pipe, at the end it is lost.
    browser.evaluate("document.querySelector('.row').click()");
    let picture = |browser: &mut Browser, what: &str| {
        browser.evaluate(&format!(
            "document.querySelectorAll('.picture {what}').length"
        ))
    };
    assert_eq!(
        (
            picture(&mut browser, ".lost-mark"),
            picture(&mut browser, ".message")
        ),
        (1.into(), 0.into())
    );
    browser.evaluate("document.querySelector('.back').click()");
    browser.evaluate("document.querySelector('.back').click()");
    assert_eq!(
        (
            picture(&mut browser, ".lost-mark"),
            picture(&mut browser, ".message")
        ),
        (0.into(), 1.into())
    );
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn the_page_works_in_a_browser() {
    let made = Made::hostile();
    let Some(mut browser) = Browser::open(&made.page()) else {
        return skip(
            "the_page_works_in_a_browser",
            "no chromium: install chromium",
        );
    };
    let count =
        |browser: &mut Browser| browser.evaluate("document.getElementById('shown').textContent");
    assert_eq!(count(&mut browser), "60 of 60 transfers");
    assert_eq!(
        browser.evaluate("document.querySelectorAll('#x, img').length"),
        0
    );

    // By keyboard: the second row opens and shows its ledger.
    browser.evaluate("document.getElementById('list').focus()");
    browser.press("ArrowDown");
    browser.press("Enter");
    let ledger = browser.evaluate("document.querySelector('.detail table').innerText");
    for hop in ["queue", "dequeue", "install"] {
        assert!(ledger.as_str().unwrap().contains(hop), "{ledger}");
    }
    assert_eq!(
        browser.evaluate("document.querySelector('.detail').getAttribute('aria-label')"),
        "transfer 2"
    );
    browser.press("Escape");
    assert_eq!(
        browser.evaluate("document.querySelectorAll('.detail').length"),
        0
    );

    // Filters: by a chip, by words, and none.
    browser.evaluate("document.querySelector('.chip.collected').click()");
    assert_eq!(count(&mut browser), "6 of 60 transfers");
    browser.evaluate("document.querySelector('button[type=reset]').click()");
    browser.settle();
    assert_eq!(count(&mut browser), "60 of 60 transfers");
    search(&mut browser, "101");
    assert_eq!(count(&mut browser), "20 of 60 transfers");
    search(&mut browser, "101 garbage");
    assert_eq!(count(&mut browser), "2 of 60 transfers");
    // A slash is for a search, and a link leads to its transfer, whatever is shown.
    browser.evaluate("document.activeElement.blur()");
    browser.press("/");
    assert_eq!(browser.evaluate("document.activeElement.name"), "search");
    browser.evaluate("location.hash = '#t17'");
    browser.settle();
    assert_eq!(
        browser.evaluate("document.querySelector('.detail').getAttribute('aria-label')"),
        "transfer 17"
    );
    assert_eq!(count(&mut browser), "60 of 60 transfers");

    // Nothing is wider than a phone, but what can be scrolled by itself.
    browser.show(390, 800, "dark");
    assert_eq!(
        browser.evaluate("document.documentElement.scrollWidth <= innerWidth"),
        true
    );
    let paper = "getComputedStyle(document.body).backgroundColor";
    let dark = browser.evaluate(paper);
    browser.show(1280, 900, "light");
    assert_ne!(browser.evaluate(paper), dark);

    // On paper every transfer is there, and nothing that only a screen can use.
    browser.evaluate(
        "{ const it = document.querySelector('button[type=reset]'); it.click(); \
         window.printed = new Promise(done => addEventListener('beforeprint', () => done( \
         [document.querySelectorAll('.row').length, matchMedia('print').matches]))) ; 0 }",
    );
    browser.settle();
    let document = browser.print();
    assert_eq!(browser.evaluate("printed.then(it => it[0])"), 60);
    assert!(document.starts_with("JVBERi0"), "it is no PDF");
    // And on the screen only those in sight again.
    browser.settle();
    assert!(
        browser
            .evaluate("document.querySelectorAll('.row').length")
            .as_u64()
            < Some(60)
    );
    if let Some(folder) = std::env::var_os("FDTRACE_PICTURES") {
        fs::write(Path::new(&folder).join("print.pdf.b64"), document).unwrap();
        take_pictures(&mut browser, Path::new(&folder));
    }
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// For a look at them by eye.
fn take_pictures(browser: &mut Browser, folder: &Path) {
    browser.evaluate("document.querySelector('button[type=reset]').click()");
    browser.evaluate("document.querySelector('.row:nth-child(3)').click()");
    for (name, width, scheme) in [
        ("light", 1280, "light"),
        ("dark", 1280, "dark"),
        ("phone", 390, "light"),
    ] {
        browser.show(width, 900, scheme);
        fs::write(folder.join(format!("{name}.png.b64")), browser.picture()).unwrap();
    }
}

/// A socket that goes from 100 to 200, twice, and from there to 300 and on to 400.
fn relayed() -> impl Iterator<Item = Vec<Event>> {
    let ways = [(100, 200), (100, 200), (200, 300), (300, 400)];
    (0..).zip(ways).map(|(number, (sender, receiver))| {
        let base = Passing::one();
        let passing = Passing {
            list: base.list + number * 0x1000,
            skb: base.skb + number * 0x1000,
            sender,
            receiver,
            ..base
        };
        let mut events = passing.delivered(2000 + number * 1000);
        for file in events.iter_mut().flat_map(files_mut) {
            (file.magic, file.mode) = (0x534f_434b, 0o140_777);
        }
        events
    })
}

#[test]
fn a_relay_is_drawn_as_one_way_and_leads_to_the_others() {
    let made = Made::of(relayed());
    let Some(mut browser) = Browser::open(&made.page()) else {
        return skip(
            "a_relay_is_drawn_as_one_way_and_leads_to_the_others",
            "no chromium: install chromium",
        );
    };
    let mut detail = |id: u64, part: &str| {
        browser.evaluate(&format!("location.hash = '#t{id}'"));
        browser.settle();
        let text = format!("document.querySelector('.detail {part}')?.innerText ?? ''");
        browser.evaluate(&text).as_str().unwrap().to_owned()
    };
    // The second one was handed on: it is the latest that came.
    for id in [2, 3, 4] {
        let chain = detail(id, ".chain");
        let mut rest = chain.as_str();
        for part in ["[100]", "#t2", "[200]", "#t3", "[300]", "#t4", "[400]"] {
            let at = rest.find(part).unwrap_or_else(|| panic!("{part}: {chain}"));
            rest = &rest[at..];
        }
    }
    assert_eq!(detail(1, ".chain"), "");
    let text = detail(2, "");
    assert!(
        text.contains("The receiver had it already, by #t1"),
        "{text}"
    );
    assert!(!detail(3, "").contains("had it already"));
    let chips = browser.evaluate(
        "[...document.querySelectorAll('.chip[data-of=mark]')].map(it => it.textContent).join()",
    );
    assert!(
        chips.as_str().unwrap().contains("1 again,2 relay"),
        "{chips}"
    );
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn a_hundred_thousand_transfers_stay_usable() {
    const MANY: u64 = 100_000;
    let made = Made::of((0..MANY).map(|number| message(number, b"busy")));
    let page = made.page();
    let size = fs::metadata(&page).unwrap().len();
    assert!(size < 40 << 20, "{size} bytes");
    let Some(mut browser) = Browser::open(&page) else {
        return skip(
            "a_hundred_thousand_transfers_stay_usable",
            "no chromium: install chromium",
        );
    };
    assert_eq!(
        browser.evaluate("document.getElementById('shown').textContent"),
        "100000 of 100000 transfers"
    );
    // Only the rows in sight exist, at either end of the list.
    let rows = "document.querySelectorAll('.row').length";
    assert!(browser.evaluate(rows).as_u64().unwrap() < 100);
    browser.evaluate("document.getElementById('list').focus()");
    browser.press("End");
    assert!(browser.evaluate(rows).as_u64().unwrap() < 100);
    assert_eq!(
        browser.evaluate("document.querySelector('.row.active').id"),
        "row-99999"
    );
    // A filter answers while one is still looking.
    let took = browser.evaluate(
        "new Promise(done => { const seen = new MutationObserver(() => done(performance.now() - begin)); \
         seen.observe(document.getElementById('shown'), { childList: true }); const begin = performance.now(); \
         const it = document.getElementById('filters').elements.search; \
         it.value = '102'; it.dispatchEvent(new Event('input', { bubbles: true })) })",
    );
    let opened = browser.evaluate("performance.getEntriesByType('navigation')[0].domComplete");
    println!("{size} bytes, opened in {opened} ms, filtered in {took} ms");
    // Ten times as long as on a machine of one's own.
    assert!(took.as_f64().unwrap() < 1000.0, "{took} ms");
    assert!(opened.as_f64().unwrap() < 20_000.0, "{opened} ms");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn records_that_never_came_are_said_on_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let recording = dir.path().join("trace");
    write(&recording, (0..3).map(|number| message(number, b"x")));
    let mut bytes = fs::read(&recording).unwrap();
    bytes.truncate(bytes.len() - 30);
    fs::write(&recording, bytes).unwrap();
    let page = dir.path().join("page.html");
    let args = [
        "report",
        recording.to_str().unwrap(),
        "-o",
        page.to_str().unwrap(),
    ];
    let run = run(&mut fdtrace(&args));
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(
        fs::read_to_string(page)
            .unwrap()
            .contains("class=\"warning\"")
    );
}
