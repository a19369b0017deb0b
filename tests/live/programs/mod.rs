//! Real programs, traced while they pass descriptors, and held to an independent record of the
//! same run: what strace saw at both ends. Every descriptor that it saw come out must be in the
//! trace, under the same numbers, in the same processes; and nothing else may be. Where the trace says
//! which thread it was, it is that thread, and where it does not, it says why.
//!
//! Each test starts its program itself, in a folder of its own, below strace, below fdtrace. A
//! program that this machine lacks is a skip that names it.

mod strace;

use std::{collections::BTreeSet, fs, net::TcpListener, path::Path, process::Command};

use fdtrace_testkit::{
    command::{fdtrace, run},
    turn::{attaching, turn},
};
use serde_json::Value;
use strace::{Details, Passed};
use tempfile::TempDir;

/// Why nothing here can run, or what `programs` lacks; `None` if it can.
fn obstacle(programs: &[&str]) -> Option<String> {
    if let Some(obstacle) = attaching() {
        return Some(obstacle);
    }
    let path = "/usr/bin:/usr/sbin:/bin:/sbin";
    let missing = ["strace"].iter().chain(programs).find(|program| {
        let mut folders = path.split(':');
        !folders.any(|folder| Path::new(folder).join(program).exists())
    });
    if let Some(missing) = missing {
        return Some(format!("no {missing}"));
    }
    // A container may forbid to trace processes.
    let traces = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    (!traces.is_ok_and(|status| status.success())).then(|| "strace may not trace here".to_owned())
}

/// What one run left.
struct Traced {
    transfers: Vec<Value>,
    passed: Vec<Passed>,
    /// Of each that passed.
    details: Vec<Details>,
}

/// Runs of a script in which something may go unseen, at most.
const RUNS_MAX: usize = 4;

/// Runs a shell script with `$D`, an empty folder, below strace, below fdtrace; holds the trace to
/// strace's record, and gives both. `None` if the test cannot run here.
///
/// The kernel skips a program where it has preempted it, and what that would have told is open then:
/// such a run says so in its summary, and another one is made.
fn trace(test: &str, programs: &[&str], script: &str) -> Option<Traced> {
    let _turn = turn(test, || obstacle(programs))?;
    for _ in 0..RUNS_MAX {
        let (lines, log) = traced_lines(script);
        let summary = lines.last().unwrap();
        let lost = summary["lost_events"].as_object().unwrap();
        let skipped = summary["recursion_misses"].as_u64().unwrap();
        if skipped != 0 || lost.values().any(|lost| *lost != 0) {
            eprintln!("once more, for something went unseen: {summary}");
            continue;
        }
        return Some(agreed(lines, &log));
    }
    panic!("something went unseen in each of {RUNS_MAX} runs");
}

/// Every line of a trace of this script, and what strace wrote of the same run.
fn traced_lines(script: &str) -> (Vec<Value>, String) {
    let folder = TempDir::new().unwrap();
    // Programs that give up root must get in.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path(), open).unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (trace, log) = (at("trace.json"), at("strace.log"));
    let mut command = fdtrace(&[
        "trace",
        "--exit-status",
        "trace",
        "--format",
        "json",
        "-o",
        &trace,
        "--",
    ]);
    command.args(["timeout", "240"]);
    command.args(["strace", "-f", "-yy", "-v", "-s", "1", "-e", strace::CALLS]);
    command.args(["-e", "signal=none", "-o", &log, "sh", "-euc", script]);
    command
        .env("D", folder.path())
        .env("HOME", folder.path())
        .env("PATH", "/usr/bin:/usr/sbin:/bin:/sbin")
        .env("TERM", "xterm")
        .env_remove("TMUX");
    let run = run(&mut command);
    let lines: Vec<Value> = fs::read_to_string(&trace)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let summary = lines.last().unwrap();
    assert_eq!(run.code, Some(0), "{summary} {run:?}");
    assert_eq!(summary["command_status"], 0, "{run:?}");
    (lines, fs::read_to_string(&log).unwrap())
}

/// Holds a trace, in which everything was seen, to strace's record.
fn agreed(lines: Vec<Value>, log: &str) -> Traced {
    let (named, unreceived) = strace::passed(log);
    let (passed, details): (Vec<Passed>, Vec<Details>) = named.into_iter().unzip();
    let transfers: Vec<Value> = lines
        .into_iter()
        .filter(|line| line["type"] == "transfer")
        .collect();
    let mut delivered: Vec<(Passed, &Value)> = transfers
        .iter()
        .filter(|transfer| transfer["fate"] == "delivered")
        .map(|transfer| {
            let passed = Passed {
                sender: transfer["sender"]["pid"].as_u64().unwrap(),
                sender_fd: transfer["sender"]["fd"].as_i64().unwrap(),
                receiver: transfer["receiver"]["pid"].as_u64().unwrap(),
                receiver_fd: transfer["receiver"]["fd"].as_i64().unwrap(),
            };
            (passed, transfer)
        })
        .collect();
    delivered.sort_by_key(|(passed, _)| *passed);
    let (seen, delivered): (Vec<Passed>, Vec<&Value>) = delivered.into_iter().unzip();
    assert_eq!(seen, passed, "the trace, and what strace saw");
    assert_eq!(
        transfers.len() - delivered.len(),
        unreceived,
        "{transfers:#?}"
    );
    for (transfer, details) in delivered.into_iter().zip(&details) {
        assert_eq!(transfer["verdict"], "same", "{transfer}");
        assert!(
            strace::agrees(&details.name, transfer),
            "{details:?}: {transfer}"
        );
        let thread = |end: &str| transfer[end]["tid"].as_u64();
        match thread("sender") {
            Some(sender) => assert_eq!(sender, details.sender, "{transfer}"),
            None => assert_eq!(transfer["doubt"], "two-threads-send", "{transfer}"),
        }
        assert_eq!(thread("receiver"), Some(details.receiver), "{transfer}");
    }
    Traced {
        transfers,
        passed,
        details,
    }
}

#[test]
fn nginx_tells_its_workers_about_each_other() {
    let Some(traced) = trace(
        "nginx_tells_its_workers_about_each_other",
        &["nginx"],
        include_str!("scripts/nginx.sh"),
    ) else {
        return;
    };
    // The master tells each earlier worker about each later one: 3 workers, 3 channels.
    assert_eq!(traced.passed.len(), 3);
    for transfer in &traced.transfers {
        assert_eq!(transfer["sender"]["comm"], "nginx");
        assert_eq!(transfer["file"]["kind"], "socket");
    }
}

#[test]
fn haproxy_hands_its_listeners_to_its_successor() {
    // Ports that are free now, and fixed, so that the successor asks for the same.
    let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [one, two] = sockets.map(|socket| socket.local_addr().unwrap().port());
    let Some(traced) = trace(
        "haproxy_hands_its_listeners_to_its_successor",
        &["haproxy"],
        &format!("set -- {one} {two}\n{}", include_str!("scripts/haproxy.sh")),
    ) else {
        return;
    };
    let listening = traced.transfers.iter().filter(|transfer| {
        let described = transfer["file"]["description"].as_str().unwrap_or_default();
        described.starts_with("tcp 127.0.0.1:") && described.ends_with(" listening")
    });
    assert_eq!(listening.count(), 2, "{:#?}", traced.transfers);
}

#[test]
fn sshd_passes_a_terminal_and_ssh_shares_its_connection() {
    let Some(traced) = trace(
        "sshd_passes_a_terminal_and_ssh_shares_its_connection",
        &["sshd", "ssh", "ssh-keygen"],
        include_str!("scripts/ssh.sh"),
    ) else {
        return;
    };
    // The monitor, as root, opens the terminal for the unprivileged session.
    let terminals = traced.transfers.iter().filter(|transfer| {
        let from_sshd = transfer["sender"]["comm"] == "sshd";
        let path = transfer["file"]["path"].as_str().unwrap_or_default();
        from_sshd && (path == "/dev/ptmx" || path.starts_with("/dev/pts/"))
    });
    assert!(terminals.count() >= 2, "{:#?}", traced.transfers);
    // The second ssh gives its standard streams to the first.
    let streams = traced.transfers.iter().filter(|transfer| {
        transfer["sender"]["comm"] == "ssh" && transfer["receiver"]["comm"] == "ssh"
    });
    assert_eq!(streams.count(), 3, "{:#?}", traced.transfers);
}

#[test]
fn a_tmux_client_gives_its_terminal_to_the_server() {
    let Some(traced) = trace(
        "a_tmux_client_gives_its_terminal_to_the_server",
        &["tmux"],
        include_str!("scripts/tmux.sh"),
    ) else {
        return;
    };
    assert!(!traced.passed.is_empty());
    let comms = |transfer: &Value| {
        let end = |end: &str| {
            transfer[end]["comm"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        (end("sender"), end("receiver"))
    };
    for transfer in &traced.transfers {
        let (client, server) = comms(transfer);
        assert!(
            client.contains("client") && server.contains("server"),
            "{transfer}"
        );
    }
}

#[test]
fn python_sends_handles_between_processes() {
    let Some(traced) = trace(
        "python_sends_handles_between_processes",
        &["python3"],
        concat!(
            "exec python3 -c '",
            include_str!("scripts/multiprocess.py"),
            "'"
        ),
    ) else {
        return;
    };
    assert_eq!(traced.passed.len(), 3);
    for transfer in &traced.transfers {
        assert_eq!(transfer["file"]["path"], "/etc/passwd");
    }
}

#[test]
fn go_routines_send_on_one_socket() {
    let script = format!(
        "export GOCACHE=$D/cache GOFLAGS=-mod=mod\n\
         cat > $D/threads.go <<'END'\n{}END\n\
         go build -o $D/threads $D/threads.go\n\
         exec $D/threads",
        include_str!("scripts/threads.go")
    );
    let Some(traced) = trace("go_routines_send_on_one_socket", &["go"], &script) else {
        return;
    };
    // Each of four threads passes its file 25 times.
    assert_eq!(traced.passed.len(), 100);
    let threads: BTreeSet<u64> = traced.details.iter().map(|it| it.sender).collect();
    assert!(threads.len() >= 4, "{threads:?}");
    for transfer in &traced.transfers {
        assert_eq!(transfer["sender"]["comm"], "threads");
    }
}

#[test]
fn node_cluster_passes_connections_or_listeners() {
    for (policy, what) in [("rr", "connection"), ("none", "listener")] {
        let script = format!(
            "export NODE_CLUSTER_SCHED_POLICY={policy}\n\
             cat > $D/cluster.js <<'END'\n{}END\nexec node $D/cluster.js",
            include_str!("scripts/cluster.js")
        );
        let Some(traced) = trace(
            "node_cluster_passes_connections_or_listeners",
            &["node"],
            &script,
        ) else {
            return;
        };
        let tcp: Vec<&str> = traced
            .transfers
            .iter()
            .filter_map(|transfer| transfer["file"]["description"].as_str())
            .filter(|described| described.starts_with("tcp"))
            .collect();
        assert!(!tcp.is_empty(), "{what}: {:#?}", traced.transfers);
        let listening = tcp
            .iter()
            .filter(|described| described.ends_with("listening"));
        match what {
            "connection" => assert_eq!(listening.count(), 0, "{tcp:?}"),
            // Node binds before it passes the handle, and each worker listens by itself.
            _ => assert!(
                tcp.iter().all(|described| !described.contains('↔')),
                "{tcp:?}"
            ),
        }
    }
}

#[test]
fn a_message_bus_relays_the_same_file() {
    let Some(traced) = trace(
        "a_message_bus_relays_the_same_file",
        &["dbus-daemon", "python3"],
        concat!(
            include_str!("scripts/bus.sh"),
            "python3 -c '",
            include_str!("scripts/bus.py"),
            "'\n"
        ),
    ) else {
        return;
    };
    let relayed: Vec<&Value> = traced
        .transfers
        .iter()
        .filter(|transfer| transfer["file"]["path"] == "/etc/passwd")
        .collect();
    let [to, from] = relayed[..] else {
        panic!("two transfers: {:#?}", traced.transfers);
    };
    assert_eq!(to["receiver"]["comm"], "dbus-daemon");
    assert_eq!(from["sender"]["comm"], "dbus-daemon");
    assert_eq!(to["file"]["ptr"], from["file"]["ptr"], "one file object");
    // Only of a socket is that certain.
    let sockets = traced
        .transfers
        .iter()
        .filter(|transfer| transfer["file"]["kind"] == "socket");
    let sockets: Vec<&Value> = sockets.collect();
    let [to_bus, from_bus] = sockets[..] else {
        panic!("two transfers: {:#?}", traced.transfers);
    };
    assert_eq!(from_bus["relay"]["transfer"], to_bus["id"], "{from_bus:#}");
    for other in [to, from, to_bus] {
        assert!(other["same_object_as"].is_null(), "{other:#}");
    }
}
