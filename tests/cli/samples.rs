//! What README and docs show is what fdtrace prints today. `TRYCMD=overwrite` writes it anew.
//!
//! In a block of `console`, `$ fdtrace why WORD` is run as it stands. What was traced on a real kernel, such as
//! `$ sudo fdtrace trace -- …/handover.py BUG`, has a recording in `tests/fixtures/recordings`, which is replayed.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use fdtrace_testkit::command::{fdtrace, run};

/// Columns of a page.
const WIDTH: &str = "90";
/// What pages show of programs that are not there to be run: recorded by whom, and shown with which options.
const RECORDED: [(&str, &str, &[&str]); 3] = [
    ("# fdtrace trace --comm acceptor", "tracepoints.fdt", &[]),
    (
        "# haproxy -f haproxy.cfg -x /run/haproxy/admin.sock -sf 28469",
        "reload.fdt",
        &["--each"],
    ),
    (
        "$ fdtrace replay reload.fdt --format mermaid",
        "reload.fdt",
        &["--format", "mermaid"],
    ),
];
const CASE: &str = "$ sudo fdtrace trace -- python3 docs/cases/handover.py ";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn overwrites() -> bool {
    std::env::var("TRYCMD").is_ok_and(|what| what == "overwrite")
}

/// What a command of a page prints; `None` if it is not for here.
fn printed(command: &str) -> Option<String> {
    let case = command
        .strip_prefix(CASE)
        .map(|bug| (format!("cases/{bug}.fdt"), &[][..]));
    let recorded = RECORDED.iter().find(|(shown, ..)| *shown == command);
    let recorded = recorded.map(|(_, recording, args)| ((*recording).to_owned(), *args));
    if let Some((recording, args)) = case.or(recorded) {
        let recording = root().join("tests/fixtures/recordings").join(recording);
        let run = run(fdtrace(&["replay", recording.to_str()?, "--width", WIDTH]).args(args));
        assert_eq!(run.code, Some(0), "{run:?}");
        if args.contains(&"--format") {
            return Some(run.stdout);
        }
        // From the first message on.
        let (_, lines) = run.stdout.split_once("\n\n")?;
        return Some(lines.to_owned());
    }
    let word = command.strip_prefix("$ fdtrace why ")?;
    let run = run(&mut fdtrace(&["why", word, "--width", WIDTH]));
    assert_eq!(run.code, Some(0), "{run:?}");
    Some(run.stdout)
}

/// A page with the output of today, and how many commands were run for it.
fn brought_up_to_date(page: &str) -> (String, usize) {
    let (mut text, mut ran) = (String::new(), 0);
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let _ = writeln!(text, "{line}");
        if line != "```console" {
            continue;
        }
        while let Some(line) = lines.next_if(|line| *line != "```") {
            let _ = writeln!(text, "{line}");
            let Some(printed) = printed(line) else {
                continue;
            };
            ran += 1;
            text.push_str(&printed);
            // What was there, up to the next command.
            while lines
                .next_if(|line| *line != "```" && !line.starts_with("$ "))
                .is_some()
            {}
        }
    }
    (text, ran)
}

#[test]
fn every_sample_is_what_is_printed_today() {
    let questions = fs::read_dir(root().join("docs/questions")).unwrap();
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let pages = questions.chain(docs).map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let mut all = 0;
    for path in pages.chain([root().join("README.md")]) {
        let page = fs::read_to_string(&path).unwrap();
        let (today, ran) = brought_up_to_date(&page);
        all += ran;
        if overwrites() {
            fs::write(&path, today).unwrap();
        } else {
            assert_eq!(
                page,
                today,
                "{}: `TRYCMD=overwrite` writes it anew",
                path.display()
            );
        }
    }
    assert!(all >= 8, "{all} samples");
}

/// One character of a screen with its style's class.
type Cell = (char, &'static str);

/// The styles that fdtrace writes.
fn class_of(codes: &str) -> &'static str {
    match codes {
        "1" => "b",
        "2" => "d",
        "31" => "r",
        "32" => "g",
        "33" => "y",
        _ => "",
    }
}

fn screen(text: &str) -> Vec<Vec<Cell>> {
    let mut class = "";
    let line = |line: &str| {
        let mut cells = Vec::new();
        let mut chars = line.chars();
        while let Some(char) = chars.next() {
            if char == '\x1b' {
                let codes: String = chars.by_ref().take_while(|char| *char != 'm').collect();
                class = class_of(codes.trim_start_matches('['));
            } else {
                cells.push((char, class));
            }
        }
        cells
    };
    text.lines().map(line).collect()
}

/// A terminal as a picture: its lines come one after another.
fn cast(command: &str, text: &str) -> String {
    const STYLE: &str = "text{font:13px ui-monospace,'DejaVu Sans Mono',Menlo,monospace;fill:#d7dde3;white-space:pre}\
        .b{font-weight:600}.d{fill:#7f8b97}.r{fill:#ff6b62;font-weight:600}.g{fill:#62c98a}.y{fill:#e0b04c}\
        .l{opacity:0;animation:come .2s forwards}@keyframes come{to{opacity:1}}\
        @media (prefers-reduced-motion:reduce){.l{animation:none;opacity:1}}";
    let lines = screen(text);
    let (width, height) = (760, 58 + 19 * (lines.len() + 1));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" \
         aria-label=\"{command}\">\n<style>{STYLE}</style>\n<rect width=\"{width}\" height=\"{height}\" rx=\"9\" \
         fill=\"#15191d\"/>\n"
    );
    for (x, fill) in [(20, "#ff5f57"), (40, "#febc2e"), (60, "#28c840")] {
        let _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"20\" r=\"6\" fill=\"{fill}\"/>"
        );
    }
    let escaped = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    };
    let _ = writeln!(
        svg,
        "<text x=\"16\" y=\"54\"><tspan class=\"g\">$</tspan> {}</text>",
        escaped(command)
    );
    for (place, cells) in lines.iter().enumerate() {
        let y = 54 + 19 * (place + 1);
        let delay = 0.8 + 0.25 * place as f64;
        let _ = write!(
            svg,
            "<text class=\"l\" style=\"animation-delay:{delay:.2}s\" x=\"16\" y=\"{y}\">"
        );
        for run in cells.chunk_by(|one, other| one.1 == other.1) {
            let text: String = run.iter().map(|(char, _)| *char).collect();
            match run[0].1 {
                "" => svg.push_str(&escaped(&text)),
                class => {
                    let _ = write!(svg, "<tspan class=\"{class}\">{}</tspan>", escaped(&text));
                }
            }
        }
        svg.push_str("</text>\n");
    }
    svg + "</svg>\n"
}

#[test]
fn the_picture_is_of_what_is_printed_today() {
    let recording = root().join("tests/fixtures/recordings/cases/smallbuf.fdt");
    let args = [
        "replay",
        recording.to_str().unwrap(),
        "--width",
        WIDTH,
        "--color",
        "always",
    ];
    let run = run(&mut fdtrace(&args));
    assert_eq!(run.code, Some(0), "{run:?}");
    let (_, lines) = run.stdout.split_once("\n\n").unwrap();
    let today = cast(
        "sudo fdtrace trace -- python3 docs/cases/handover.py smallbuf",
        lines,
    );
    assert!(
        today.contains("class=\"r\">truncated"),
        "a loss is red: {today}"
    );
    let path = root().join("docs/trace.svg");
    if overwrites() {
        fs::write(path, today).unwrap();
    } else {
        assert_eq!(
            fs::read_to_string(path).unwrap(),
            today,
            "`TRYCMD=overwrite` draws it anew"
        );
    }
}
