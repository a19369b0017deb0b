#!/usr/bin/env python3
"""Hands four listeners from an old proxy to a new one, with one bug: handover.py BUG.

ok        none
smallbuf  the new one's control buffer has room for two descriptors
read      it takes the message with read() and not with recvmsg()
rlimit    it has two numbers left below RLIMIT_NOFILE
close     it closes its socket without having read it
flood     the old one sends more than its user may have in flight
cloexec   it receives without MSG_CMSG_CLOEXEC, and leaks to what it executes
"""
import os, resource, socket, sys, time

bug = sys.argv[1] if len(sys.argv) > 1 else "ok"
PORTS = (8080, 8081, 8443, 9090)


def call_oneself(name):
    with open("/proc/self/comm", "w") as comm:
        comm.write(name)


def receive(sock):
    if bug == "read":
        return sock.recv(16)
    if bug == "close":
        return None
    if bug == "rlimit":
        next_free = os.dup(0)
        os.close(next_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_free + 2, next_free + 2))
    room = 2 if bug == "smallbuf" else len(PORTS)
    flags = 0 if bug == "cloexec" else socket.MSG_CMSG_CLOEXEC
    _, control, flags, _ = sock.recvmsg(16, socket.CMSG_LEN(room * 4), flags)
    if bug == "cloexec":
        os.execvp("true", ["true"])


listeners = [socket.create_server(("127.0.0.1", port)) for port in PORTS]
old, new = socket.socketpair(socket.AF_UNIX)
if os.fork() == 0:
    call_oneself("proxy-new")
    old.close()
    for listener in listeners:
        listener.close()
    receive(new)
    os._exit(0)
call_oneself("proxy-old")
if bug == "flood":
    # Root may have as many as it likes, so this is somebody else's.
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    try:
        for _ in range(12):
            socket.send_fds(old, [b"x"], [listener.fileno() for listener in listeners])
    except OSError as error:
        print(error)
else:
    socket.send_fds(old, [b"x"], [listener.fileno() for listener in listeners])
new.close()
os.wait()
