"""Raw packets: a port scanner fast enough for all ports of every address, a flood, a sniffer.

All by AF_PACKET, so that nothing of the sender's own stack (its routes, its neighbours, its own
resets) stands between an attempt and the appliance.
"""

import contextlib
import ipaddress
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

ETH_ALL = 3
IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
SO_RCVBUFFORCE, SO_SNDBUFFORCE = 33, 32
PACKET_OUTGOING = 4
# Source port of all that is sent here: what is found of it elsewhere has crossed.
MARK = 40_077
ALL_PORTS = range(1, 65_536)


def port(interface):
    """A raw socket on an interface of this thread's namespace."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_ALL))
    raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
    raw.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20)
    raw.bind((interface, ETH_ALL))
    return raw


def sum16(data):
    """Sum of 16-bit words, folded, as the Internet's checksums have it."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def ethernet(source, target, kind):
    """A header."""
    return target + source + struct.pack("!H", kind)


@dataclass(frozen=True)
class Way:
    """From whom to whom, on one network."""

    from_mac: bytes
    to_mac: bytes
    source: str
    target: str

    def frame(self, protocol, payload, hops=64, options=b"", fragment=0, ident=0x77):
        """An Ethernet frame with an IP packet; the payload has its checksum already."""
        source, target = ipaddress.ip_address(self.source), ipaddress.ip_address(self.target)
        if source.version == 4:
            words = 5 + len(options) // 4
            head = (
                struct.pack(
                    "!BBHHHBBH",
                    0x40 | words,
                    0,
                    words * 4 + len(payload),
                    ident,
                    fragment,
                    hops,
                    protocol,
                    0,
                )
                + source.packed
                + target.packed
                + options
            )
            check = 0xFFFF - sum16(head)
            head = head[:10] + struct.pack("!H", check) + head[12:]
            return ethernet(self.from_mac, self.to_mac, IPV4) + head + payload
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops)
        return (
            ethernet(self.from_mac, self.to_mac, IPV6)
            + head
            + source.packed
            + target.packed
            + payload
        )

    def pseudo(self, protocol, length):
        """What checksums of TCP, UDP and ICMPv6 cover beside the packet."""
        source, target = ipaddress.ip_address(self.source), ipaddress.ip_address(self.target)
        return source.packed + target.packed + struct.pack("!IHH", length, 0, protocol)

    def checked(self, protocol, payload, at):
        """The payload with its checksum, which stands at this offset."""
        total = sum16(self.pseudo(protocol, len(payload)) + payload)
        check = (0xFFFF - total) or 0xFFFF
        return payload[:at] + struct.pack("!H", check) + payload[at + 2 :]

    def syn(self, target_port, flags=2):
        """A TCP segment that begins a connection, or another one."""
        segment = struct.pack("!HHIIBBHHH", MARK, target_port, 1, 0, 0x50, flags, 1024, 0, 0)
        return self.frame(TCP, self.checked(TCP, segment, 16))

    def syns(self, ports):
        """The same for many ports, quicker: only port and checksum differ."""
        first = self.syn(0)
        at = 54 - 20 if ipaddress.ip_address(self.source).version == 4 else 74 - 20
        head, middle = first[: at + 2], first[at + 4 : at + 16]
        base = sum16(
            self.pseudo(TCP, 20) + struct.pack("!HHIIBBHHH", MARK, 0, 1, 0, 0x50, 2, 1024, 0, 0)
        )
        for target_port in ports:
            total = base + target_port
            total = (total & 0xFFFF) + (total >> 16)
            yield (
                head
                + target_port.to_bytes(2, "big")
                + middle
                + (0xFFFF - total).to_bytes(2, "big")
                + b"\0\0"
            )

    def datagram(self, target_port, payload=b"?"):
        """A UDP packet."""
        body = struct.pack("!HHHH", MARK, target_port, 8 + len(payload), 0) + payload
        return self.frame(UDP, self.checked(UDP, body, 6))

    def echo(self):
        """A ping."""
        if ipaddress.ip_address(self.source).version == 4:
            body = b"\x08\0\0\0\0\x77\0\1" + b"town"
            return self.frame(ICMP, body[:2] + struct.pack("!H", 0xFFFF - sum16(body)) + body[4:])
        body = b"\x80\0\0\0\0\x77\0\1" + b"town"
        return self.frame(ICMP6, self.checked(ICMP6, body, 2))


@dataclass
class Seen:
    """One packet that a sniffer has taken, as far as it was understood."""

    kind: int
    from_mac: bytes
    source: str = ""
    target: str = ""
    protocol: int = 0
    source_port: int = 0
    target_port: int = 0
    flags: int = 0
    payload: bytes = b""


def read(frame):
    """Takes a frame apart."""
    kind = int.from_bytes(frame[12:14], "big")
    seen = Seen(kind, frame[6:12])
    if kind == IPV4:
        length = (frame[14] & 15) * 4
        seen.protocol = frame[23]
        seen.source = str(ipaddress.IPv4Address(frame[26:30]))
        seen.target = str(ipaddress.IPv4Address(frame[30:34]))
        body = frame[14 + length :]
        if int.from_bytes(frame[20:22], "big") & 0x1FFF:
            seen.payload = body
            return seen
    elif kind == IPV6:
        seen.protocol = frame[20]
        seen.source = str(ipaddress.IPv6Address(frame[22:38]))
        seen.target = str(ipaddress.IPv6Address(frame[38:54]))
        body = frame[54:]
    elif kind == ARP:
        seen.source = str(ipaddress.IPv4Address(frame[28:32]))
        seen.target = str(ipaddress.IPv4Address(frame[38:42]))
        seen.flags = frame[21]
        return seen
    else:
        seen.payload = frame[14:]
        return seen
    if seen.protocol in (TCP, UDP) and len(body) >= 8:
        seen.source_port, seen.target_port = struct.unpack("!HH", body[:4])
        if seen.protocol == TCP and len(body) >= 14:
            seen.flags = body[13]
    seen.payload = body
    return seen


class Sniffer:
    """Takes what arrives at an interface (what leaves the host at the cable's other end)."""

    def __init__(self, raw, wanted=lambda seen: True):
        self.raw, self.wanted = raw, wanted
        self.taken = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        while not self._stop.is_set():
            if select.select([self.raw], [], [], 0.05)[0]:
                frame, address = self.raw.recvfrom(65_536)
                if address[2] != PACKET_OUTGOING:
                    seen = read(frame)
                    if self.wanted(seen):
                        self.taken.append(seen)

    def wait(self, condition, limit=5.0):
        """Waits until something has been taken."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if any(condition(seen) for seen in self.taken):
                return True
            time.sleep(0.02)
        return False

    def end(self, linger=0.3):
        """Stops after a moment for what is on its way; the kernel must have lost nothing."""
        time.sleep(linger)
        self._stop.set()
        self._thread.join()
        _, lost = struct.unpack("II", self.raw.getsockopt(263, 6, 8))
        self.raw.close()
        if lost:
            raise RuntimeError(f"the sniffer has lost {lost} packets: it proves nothing")
        return self.taken


@contextlib.contextmanager
def sniffing(streets, name, interface, wanted=lambda seen: True):
    """A sniffer for a block; its `taken` is complete after it."""
    with streets.inside(name):
        raw = port(interface)
    sniffer = Sniffer(raw, wanted)
    try:
        yield sniffer
    finally:
        sniffer.end()


@dataclass
class Scan:
    """What came of a scan."""

    probed: int = 0
    open: list = field(default_factory=list)
    refused: int = 0
    spoke: list = field(default_factory=list)

    def add(self, other):
        """Sums up."""
        self.probed += other.probed
        self.open += other.open
        self.refused += other.refused
        self.spoke += other.spoke


def send_all(raw, frames):
    """Sends frames as fast as the other end takes them; how many."""
    count = 0
    for frame in frames:
        while True:
            try:
                raw.send(frame)
                break
            except (BlockingIOError, OSError) as error:
                if getattr(error, "errno", 0) != 105:  # ENOBUFS: the queue is full
                    raise
                time.sleep(0.001)
        count += 1
    return count


def scan_tcp(streets, name, interface, way, ports=ALL_PORTS):
    """SYN to each port; open is what answers SYN-ACK."""

    def answers(seen):
        return seen.protocol == TCP and seen.source == way.target and seen.target_port == MARK

    with streets.inside(name):
        out = port(interface)
    with out, sniffing(streets, name, interface, answers) as sniffer:
        probed = send_all(out, way.syns(ports))
    found = sorted({seen.source_port for seen in sniffer.taken if seen.flags & 0x12 == 0x12})
    refused = sum(1 for seen in sniffer.taken if seen.flags & 4)
    return Scan(probed, [(way.target, "tcp", number) for number in found], refused)


# The services that UDP scans find most often, and those that an appliance might have.
TOP_UDP = [
    int(number)
    for number in """
    7 9 13 17 19 37 42 49 53 67 68 69 80 88 111 120 123 135 136 137 138 139 158 161 162 177 389
    427 443 445 464 497 500 514 515 518 520 546 547 554 593 623 626 631 749 853 996 997 998 999
    1022 1023 1025 1026 1027 1028 1029 1030 1194 1433 1434 1645 1646 1701 1718 1719 1812 1813 1900
    2000 2048 2049 2222 3283 3456 3478 3702 3703 4045 4500 5000 5004 5005 5060 5061 5349 5353 5355
    5632 5683 8000 8001 8080 8443 8554 9000 9200 10000 17185 20031 30718 31337 32768 32769 37810
    49152 49153 49154 49156 49181 49182 49188 49200 49201 51820 65024
    """.split()
]


def scan_udp(streets, name, interface, way, ports=TOP_UDP):
    """A datagram to each port; what speaks at all, be it ICMP, is reachable."""

    def answers(seen):
        spoken = seen.protocol in (UDP, ICMP)
        spoken |= seen.protocol == ICMP6 and seen.payload[0] in (1, 129)
        return seen.source == way.target and spoken

    with streets.inside(name):
        out = port(interface)
    with out, sniffing(streets, name, interface, answers) as sniffer:
        probed = send_all(out, (way.datagram(number) for number in ports))
        probed += send_all(out, [way.echo()])
    spoke = sorted({(seen.protocol, seen.source_port) for seen in sniffer.taken})
    return Scan(probed, [], 0, [(way.target, *what) for what in spoke])
