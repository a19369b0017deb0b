//! What strace prints, and what is made of it.

use super::*;

#[test]
fn names_agree_only_if_they_are_of_one_file() {
    let transfer =
        |description: &str| serde_json::json!({"file": {"description": description, "ino": "77"}});
    for (name, one, other) in [
        ("/a", "/a", "/b"),
        ("/a(deleted)", "/a (deleted)", "/a"),
        ("/dev/pts/0<char 136:0>", "/dev/pts/0", "/dev/pts/1"),
        (
            "TCP:[127.0.0.1:80]",
            "tcp 127.0.0.1:80 listening",
            "tcp 127.0.0.1:81 listening",
        ),
        (
            "TCPv6:[[::1]:80->[::1]:5]",
            "tcp [::1]:80 ↔ [::1]:5",
            "tcp [::1]:80",
        ),
        (
            "TCPv6:[[::ffff:1.2.3.4]:80]",
            "tcp 1.2.3.4:80",
            "udp 1.2.3.4:80",
        ),
        ("UNIX-STREAM:[77->78]", "unix", "tcp 0.0.0.0:0"),
        (
            "UNIX-STREAM:[77,\"/s\"]",
            "unix /s listening",
            "unix /t listening",
        ),
        (
            "anon_inode:[eventfd]",
            "anon_inode:[eventfd]",
            "anon_inode:[timerfd]",
        ),
    ] {
        assert!(agrees(name, &transfer(one)), "{name}: {one}");
        assert!(!agrees(name, &transfer(other)), "{name}: {other}");
    }
    assert!(!agrees("UNIX-STREAM:[78->77]", &transfer("unix")));
}

#[test]
fn what_strace_splits_is_joined_and_paired() {
    let log = r#"
10 sendmsg(7<UNIX-STREAM:[54->55]>, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="\1", iov_len=1}], msg_iovlen=1, msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[6</a[1], b>, 9<UNIX-STREAM:[77->78]>]}], msg_controllen=24, msg_flags=0}, 0) = 1
20 recvmsg(8<UNIX-STREAM:[55->54]>,  <unfinished ...>
10 +++ exited with 0 +++
20 <... recvmsg resumed>{msg_name=NULL, msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[11</a>, 12<x->y>]}], msg_flags=0}, 0) = 1
10 sendmsg(7<UNIX-STREAM:[54->55]>, {msg_name=NULL, msg_control=[{cmsg_type=SCM_RIGHTS, cmsg_data=[3</c>]}]}, 0) = 1
20 recvmsg(8<UNIX-STREAM:[55]>, {msg_name=NULL, msg_control=[{cmsg_type=SCM_RIGHTS, cmsg_data=[13</c>]}]}, 0) = 1
10 sendmsg(7<UNIX-STREAM:[54->55]>, {msg_name=NULL, msg_control=[{cmsg_type=SCM_RIGHTS, cmsg_data=[6</a>]}]}, 0) = -1 EAGAIN (Resource temporarily unavailable)
"#;
    let (passed, unreceived) = passed(log);
    let numbers: Vec<_> = passed
        .iter()
        .map(|(it, _)| (it.sender, it.sender_fd, it.receiver, it.receiver_fd))
        .collect();
    assert_eq!(numbers, [(10, 3, 20, 13), (10, 6, 20, 11), (10, 9, 20, 12)]);
    let names: Vec<&str> = passed.iter().map(|(_, it)| it.name.as_str()).collect();
    assert_eq!(names, ["/c", "/a", "x->y"]);
    assert_eq!(unreceived, 0);
}

#[test]
fn threads_are_their_process_and_overtake_each_other() {
    let log = r#"
10 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[11]}, 88) = 11
10 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 20
11 clone(child_stack=0xc0, flags=CLONE_VM|CLONE_THREAD <unfinished ...>
11 <... clone resumed>) = 12
10 sendmsg(7<UNIX-STREAM:[54->55]>, {msg_name=NULL, msg_control=[{cmsg_type=SCM_RIGHTS, cmsg_data=[3</a>]}]}, 0) = 1
12 sendmsg(7<UNIX-STREAM:[54->55]>, {msg_name=NULL, msg_control=[{cmsg_type=SCM_RIGHTS, cmsg_data=[4</b>]}]}, 0) = 1
20 recvmsg(8<UNIX-STREAM:[55->54]>, {msg_name=NULL, msg_control=[{cmsg_type=SCM_RIGHTS, cmsg_data=[8</b>]}]}, 0) = 1
"#;
    let (passed, unreceived) = passed(log);
    let [(passed, details)] = &passed[..] else {
        panic!("one descriptor: {passed:?}");
    };
    assert_eq!((passed.sender, passed.sender_fd), (10, 4));
    assert_eq!((passed.receiver, passed.receiver_fd), (20, 8));
    assert_eq!((details.sender, details.receiver), (12, 20));
    assert_eq!(unreceived, 1);
}

#[test]
fn the_calls_that_connect_sockets_say_who_is_whose_peer() {
    let log = r#"
10 socketpair(AF_UNIX, SOCK_STREAM, 0, [3<UNIX:[54]>, 4<UNIX:[55]>]) = 0
10 bind(6<UNIX:[60]>, {sa_family=AF_UNIX, sun_path="/run/s.tmp"}, 110) = 0
10 rename("/run/s.tmp", "/run/s") = 0
20 connect(3<UNIX:[70]>, {sa_family=AF_UNIX, sun_path="/run/s"}, 110) = -1 ECONNREFUSED (Connection refused)
10 accept4(6<UNIX:[60]>,  <unfinished ...>
20 connect(4<UNIX:[71]>, {sa_family=AF_UNIX, sun_path="/run/s"}, 110) = 0
20 connect(5<UNIX:[72]>, {sa_family=AF_UNIX, sun_path="/run/s"}, 110) = 0
10 <... accept4 resumed>{sa_family=AF_UNIX}, [110 => 2], SOCK_NONBLOCK) = 7<UNIX:[81]>
10 accept(6<UNIX:[60]>, NULL, NULL) = 8<UNIX:[82]>
20 connect(9<TCP:[90]>, {sa_family=AF_INET, sin_port=htons(1)}, 16) = 0
"#;
    let mut calls = calls(log);
    calls.retain(|(_, call)| result(call).is_some_and(|result| result >= 0));
    let peers = peers(calls.iter().map(|(_, call)| call.as_str()));
    let mut pairs: Vec<(u64, u64)> = peers.into_iter().filter(|(one, two)| one < two).collect();
    pairs.sort_unstable();
    assert_eq!(pairs, [(54, 55), (71, 81), (72, 82)]);
}
