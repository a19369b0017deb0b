//! docs/behaviour.md has every word that the output can have, from the table behind `fdtrace why`.

use std::{fmt::Write as _, fs, path::Path};

use fdtrace::explain::words::{Sort, all};

const BEGIN: &str = "<!-- From `fdtrace why`; `TRYCMD=overwrite` writes it anew. -->\n";
const END: &str = "<!-- End of what is from `fdtrace why`. -->\n";

fn tables() -> String {
    let words = all();
    let mut text = String::new();
    for sort in Sort::ALL {
        let of_sort: Vec<_> = words.iter().filter(|word| word.sort == sort).collect();
        let helps = of_sort.iter().any(|word| word.cure.is_some());
        let (head, rule) = if helps {
            ("| what helps | scenarios |", "|---|---|")
        } else {
            ("| scenarios |", "|---|")
        };
        let _ = writeln!(
            text,
            "\n### {}\n\n| word | means {head}\n|---|---{rule}",
            sort.title()
        );
        for word in of_sort {
            let scenarios: Vec<String> = word
                .scenarios
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let _ = write!(text, "| `{}` | {} |", word.name, word.means);
            if helps {
                let _ = write!(text, " {} |", word.cure.unwrap_or_default());
            }
            let _ = writeln!(text, " {} |", scenarios.join(", "));
        }
    }
    text
}

#[test]
fn the_documentation_has_every_word() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/behaviour.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("the page has the tables' place");
    let (written, after) = rest.split_once(END).expect("the tables have an end");
    if std::env::var("TRYCMD").is_ok_and(|what| what == "overwrite") {
        fs::write(path, format!("{before}{BEGIN}{}\n{END}{after}", tables())).unwrap();
        return;
    }
    assert_eq!(
        written.trim(),
        tables().trim(),
        "`TRYCMD=overwrite` writes them anew"
    );
}
