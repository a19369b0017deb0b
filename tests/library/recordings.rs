//! Recordings, read by another program.

use std::{fs, io, process::Command};

use fdtrace::{Error, Judged, ReadError, Recording, Verdict};

use super::recording;

#[test]
fn a_recording_gives_what_replay_shows() -> Result<(), Error> {
    for name in ["reload", "tracepoints", "trampolines"] {
        let path = recording(name);
        let replay = Command::new(env!("CARGO_BIN_EXE_fdtrace"))
            .args(["replay", "--format", "json", path.to_str().unwrap()])
            .output()
            .unwrap();
        let text = String::from_utf8(replay.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let shown: Vec<serde_json::Value> = lines
            .filter(|it: &serde_json::Value| it["type"] == "transfer")
            .collect();
        let read: Vec<Judged> = Recording::open(&path)?
            .transfers()
            .collect::<Result<_, _>>()?;
        assert!(!read.is_empty());
        assert_eq!(read.len(), shown.len());
        for (read, shown) in read.iter().zip(&shown) {
            assert_eq!(shown["fate"], read.fate().name());
            assert_eq!(shown["verdict"].as_str(), read.verdict.map(Verdict::name));
        }
    }
    Ok(())
}

#[test]
fn what_is_wrong_with_a_recording_comes_last() {
    let whole = fs::read(recording("reload")).unwrap();
    let all = Recording::read(io::Cursor::new(whole.clone())).unwrap();
    let all = all.transfers().count();
    let cut = whole[..whole.len() - 1].to_vec();
    let read = Recording::read(io::Cursor::new(cut.clone()))
        .unwrap()
        .transfers();
    let mut read: Vec<_> = read.collect();
    let last = read.pop().unwrap();
    assert!(
        matches!(last, Err(Error::Recording(ReadError::BreaksOff { .. }))),
        "{last:?}"
    );
    assert!(read.iter().all(Result::is_ok));
    assert_eq!(read.len(), all, "the end alone is missing");
    assert!(
        Recording::read(io::Cursor::new(cut))
            .unwrap()
            .seen()
            .is_err()
    );
    assert!(matches!(
        Recording::open("/nowhere/at/all"),
        Err(Error::Open { .. })
    ));
}
