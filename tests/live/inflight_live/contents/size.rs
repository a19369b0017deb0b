//! What a look at ten thousand files costs.

use super::*;

/// What one look at everything took.
struct Cost {
    text: String,
    /// At most, while it had all rows.
    memory_kib: u64,
    /// Processor time, for others use the machine too.
    spent: Duration,
}

#[expect(clippy::zombie_processes, reason = "wait4 below waits for it")]
fn cost_of_a_look() -> Cost {
    let mut child = fdtrace(&["inflight", "--format", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("fdtrace can be started");
    let pid = i32::try_from(child.id()).expect("a process id");
    let mut text = String::new();
    let mut memory_kib = 0;
    for row in BufReader::new(child.stdout.take().expect("it is a pipe")).lines() {
        text += &row.expect("text");
        text.push('\n');
        // Here it waits for the reader, with all rows in memory.
        if text.len() < 1024 {
            memory_kib = most_memory_kib(child.id()).expect("it has more rows than the pipe takes");
        }
    }
    // SAFETY: both are places for the kernel to write to, and the child is nobody else's to wait
    // for: `child` is not asked again.
    let (status, usage) = unsafe {
        let mut status = 0;
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::wait4(pid, &raw mut status, 0, &raw mut usage), pid);
        (status, usage)
    };
    assert_eq!(status, 0);
    let spent = [usage.ru_utime, usage.ru_stime]
        .map(|time| Duration::from_micros((time.tv_sec * 1_000_000 + time.tv_usec).unsigned_abs()))
        .iter()
        .sum();
    Cost {
        text,
        memory_kib,
        spent,
    }
}

#[test]
fn ten_thousand_files_are_listed_in_time_and_in_bounds() {
    let _turn = take_turn!(looking);
    const FEW_SOCKETS: usize = 4;
    const SOCKETS: usize = 40;
    /// For fdtrace as a whole, in KiB: its own code, the kernel's types, and these rows.
    const MEMORY_KIB: u64 = 150 * 1024;
    /// Optimised, and on a processor.
    const LIMIT: Duration = Duration::from_secs(2);
    let folder = scratch();
    let (file, path) = file_in(folder.path(), "many");
    let many = vec![file.as_raw_fd(); FULL];
    let pair = |_| {
        let pair = Pair::of(SockType::Stream);
        pair.send(b"x", &many);
        pair
    };
    let mut pairs: Vec<Pair> = (0..FEW_SOCKETS).map(pair).collect();
    let few = cost_of_a_look();
    pairs.extend((FEW_SOCKETS..SOCKETS).map(pair));
    let Cost {
        text,
        memory_kib,
        spent,
    } = cost_of_a_look();
    assert!(memory_kib > 0, "no row came");
    assert!(
        memory_kib < MEMORY_KIB,
        "it took {memory_kib} KiB of memory"
    );
    // What is unoptimised is slow, and in a VM the processor's time is also what the machine around
    // it does meanwhile. There, ten times as many files take ten times as long at most.
    let limit = if cfg!(debug_assertions) || is_emulated() {
        few.spent * u32::try_from(SOCKETS / FEW_SOCKETS).expect("a small number")
    } else {
        LIMIT
    };
    assert!(
        spent < limit,
        "it took {spent:?}, and at most {limit:?} is right"
    );
    println!(
        "{} files took {spent:?} and {memory_kib} KiB",
        SOCKETS * FULL
    );

    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    for pair in &pairs {
        let ino = ino(&pair.receiver);
        let indices: Vec<u64> = rows
            .iter()
            .filter(|row| row["socket"]["ino"] == ino)
            .inspect(|row| assert_eq!(row["file"]["path"].as_str(), path.to_str()))
            .filter_map(|row| row["index"].as_u64())
            .collect();
        assert_eq!(indices, (0..FULL as u64).collect::<Vec<_>>());
    }
}
