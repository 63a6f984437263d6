"""The world around an appliance: an upstream that echoes, a resolver, a metadata service, a
camera. Writes a line for everything that arrives. Arguments: the file for those lines, the
interface towards the appliance."""
import socket
import struct
import sys
import threading

LOG = open(sys.argv[1], "a", buffering=1)
RESOLVER = "10.99.1.3"
NAMES = {
    "allowed.test": "10.99.1.2",
    "late.test": "10.99.1.2",
    "a.wild.test": "10.99.1.2",
    "rebind.test": "127.0.0.1",
    "meta.test": "169.254.169.254",
    "self.test": "10.99.1.1",
    "camera.test": "10.99.1.77",
    "named-camera.test": "10.99.1.78",
}
FLIPS = [0]


def log(*words):
    LOG.write(" ".join(str(word) for word in words) + "\n")


def converse(connection):
    with connection:
        try:
            connection.sendall(b"upstream\n")
            while True:
                data = connection.recv(65536)
                if not data:
                    connection.sendall(b"bye\n")
                    return
                connection.sendall(data)
        except OSError:
            pass


def upstream(port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(1024)
    while True:
        connection, _ = listener.accept()
        log("tcp", *connection.getsockname())
        threading.Thread(target=converse, args=(connection,), daemon=True).start()


def name_of(packet):
    labels, at = [], 12
    while packet[at]:
        labels.append(packet[at + 1:at + 1 + packet[at]].decode("latin-1"))
        at += packet[at] + 1
    return ".".join(labels), at + 5, struct.unpack(">H", packet[at + 1:at + 3])[0]


def resolver():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((RESOLVER, 53))
    while True:
        packet, client = server.recvfrom(4096)
        name, end, kind = name_of(packet)
        log("dns", name, kind)
        address = NAMES.get(name)
        if name == "flip.test" and kind == 1:
            # The first answer is what a check would see, the second what a rebinder wants.
            address = ["10.99.1.2", "127.0.0.1"][FLIPS[0] % 2]
            FLIPS[0] += 1
        known = address is not None or name == "flip.test"
        answer = b""
        if address and kind == 1:
            answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(address)
        head = packet[:2] + struct.pack(">HHHHH", 0x8180 | (0 if known else 3), 1, bool(answer), 0, 0)
        server.sendto(head + packet[12:end] + answer, client)


def sniff(interface):
    """Whatever is neither TCP nor a question to the resolver."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    raw.bind((interface, 0))
    while True:
        packet, where = raw.recvfrom(65536)
        if where[2] == socket.PACKET_OUTGOING:
            continue
        if where[1] == 0x0800 and packet[9] != 6:
            target = socket.inet_ntoa(packet[16:20])
            port = struct.unpack(">H", packet[22:24])[0]
            if (packet[9], target, port) != (17, RESOLVER, 53):
                log("packet", packet[9], target, port)
        elif where[1] == 0x86DD and packet[6] in (6, 17):
            log("packet6", packet[6], socket.inet_ntop(socket.AF_INET6, packet[24:40]))


for port in (80, 443, 554, 8443, 8883):
    threading.Thread(target=upstream, args=(port,), daemon=True).start()
threading.Thread(target=resolver, daemon=True).start()
threading.Thread(target=sniff, args=(sys.argv[2],), daemon=True).start()
log("ready")
threading.Event().wait()
