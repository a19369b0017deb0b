import array, os, socket, struct

def string(text):
    return struct.pack("<I", len(text)) + text.encode() + b"\0"

def field(code, kind, value):
    return bytes([code, 1]) + kind.encode() + b"\0" + value

def pad(data, to=8):
    return data + b"\0" * (-len(data) % to)

serial = 0

def call(connection, destination, path, interface, member, body=b"", signature="", fds=()):
    global serial
    serial += 1
    fields = [field(1, "o", string(path)), field(2, "s", string(interface)),
              field(3, "s", string(member)), field(6, "s", string(destination))]
    if signature:
        fields.append(field(8, "g", bytes([len(signature)]) + signature.encode() + b"\0"))
    if fds:
        fields.append(field(9, "u", struct.pack("<I", len(fds))))
    # Every value here is a string or a number behind a header of four bytes: it is aligned.
    packed = b""
    for one in fields:
        packed = pad(packed) + one
    header = b"l\1\0\1" + struct.pack("<III", len(body), serial, len(packed))
    data = pad(header + packed) + body
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    connection.sendmsg([data], rights)

def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ["D"] + "/bus")
    uid = str(os.getuid()).encode().hex()
    connection.sendall(b"\0AUTH EXTERNAL " + uid.encode() + b"\r\n")
    assert connection.recv(1024).startswith(b"OK")
    connection.sendall(b"NEGOTIATE_UNIX_FD\r\n")
    assert connection.recv(1024).startswith(b"AGREE_UNIX_FD")
    connection.sendall(b"BEGIN\r\n")
    call(connection, "org.freedesktop.DBus", "/org/freedesktop/DBus",
         "org.freedesktop.DBus", "Hello")
    answer = b""
    # The name is in the answer, and again in the signal that follows.
    while answer.count(b":1.") < 2:
        answer += connection.recv(4096)
    at = answer.index(b":1.")
    return connection, answer[at:answer.index(b"\0", at)].decode()

sender, _ = connect()
receiver, name = connect()
with open("/etc/passwd") as file:
    call(sender, name, "/take", "test.Take", "Take", struct.pack("<I", 0), "h", [file.fileno()])
    # A socket has one open file, so that the bus is known to hand on what it was given.
    one, other = socket.socketpair()
    call(sender, name, "/take", "test.Take", "Take", struct.pack("<I", 0), "h", [one.fileno()])
got = []
while len(got) < 2:
    data, ancillary, flags, _ = receiver.recvmsg(4096, socket.CMSG_SPACE(64))
    assert data, "the bus has hung up"
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            got.extend(array.array("i", content[: len(content) // 4 * 4]))
assert os.fstat(got[0]).st_ino == os.stat("/etc/passwd").st_ino
