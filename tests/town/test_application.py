"""From inside a compromised application, and in place of a compromised worker.

`attack.py` runs there and tries everything; the same file on a bare host shows which attempts this
kernel knows at all.
"""

import json
import os
import socket
import struct
import threading
from contextlib import ExitStack

import pytest
from appliance import instance
from attackers import ATTACK, HARMLESS, OWN, in_place_of, on_bare_host, summary
from streets import INTERNET4, INTERNET6, camera4, camera6, uplink4, uplink6

from control_plane import TARGET

LISTENER = """
import socket, time
for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    try:
        socket.create_server((host, 4022), family=family).listen()
    except OSError:
        pass
    kept = globals().setdefault("kept", []); kept.append(socket.create_server(
        ("127.0.0.1", 4023 + len(kept))))
time.sleep(10_000)
"""


class Canaries:
    """Services all over the town that would answer, and count who comes."""

    def __init__(self, streets):
        self.stack = ExitStack()
        self.streets = streets
        self.visits = []
        self.asked = []
        self.closed = threading.Event()
        self.threads = []

    def tcp(self, name, host, port):
        """Accepts whoever comes."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with self.streets.inside(name):
            server = self.stack.enter_context(socket.create_server((host, port), family=family))
        self._begin(self._accept, server)

    def local(self, name, abstract):
        """Accepts whoever comes by an abstract name, which a network namespace has of its own."""
        with self.streets.inside(name):
            server = self.stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind("\0" + abstract)
        server.listen()
        self._begin(self._accept, server)

    def udp(self, name, host, port):
        """Answers every question, as a resolver that an attacker owns does."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with self.streets.inside(name):
            server = self.stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            server.bind((host, port))
        self._begin(self._answer, server)

    def _begin(self, serve, server):
        # A socket lives on while a thread waits in it: none waits for long.
        server.settimeout(0.2)
        self.threads.append(threading.Thread(target=serve, args=(server,), daemon=True))
        self.threads[-1].start()

    def close(self):
        """Ends all of them; their ports are free afterwards."""
        self.closed.set()
        for thread in self.threads:
            thread.join()
        self.stack.close()

    def _accept(self, server):
        while not self.closed.is_set():
            try:
                stream, address = server.accept()
            except TimeoutError:
                continue
            local = server.family == socket.AF_UNIX
            name = server.getsockname()
            self.visits.append((name, "local") if local else (name[:2], address[0]))
            stream.close()

    def _answer(self, server):
        while not self.closed.is_set():
            try:
                question, address = server.recvfrom(4096)
            except TimeoutError:
                continue
            self.asked.append((server.getsockname()[:2], question))
            server.sendto(question[:2] + struct.pack("!H", 0x8180) + question[4:], address)


@pytest.fixture(scope="module")
def canaries(town):
    """Everybody whom an attacker would like to meet."""
    built = Canaries(town.streets)
    for name, host, port in (
        ("net", INTERNET4, 443),
        ("net", INTERNET6, 443),
        ("net", INTERNET4, 8444),
        ("net", "169.254.169.254", 80),
        ("up", uplink4("up"), 4022),
        ("up", uplink6("up"), 4022),
        ("rtr", "10.77.2.254", 53),
        ("cam", camera4(29), 80),
        ("cam", camera6(29), 80),
        ("a", uplink4("a"), 4044),
        ("a", uplink6("a"), 4044),
        ("a", "127.0.0.1", 4045),
        ("b", uplink4("b"), 4044),
    ):
        built.tcp(name, host, port)
    for name, host, port in (
        ("net", INTERNET4, 53),
        ("net", INTERNET6, 53),
        ("rtr", "10.77.2.254", 53),
        ("a", "127.0.0.1", 53),
        ("a", uplink4("a"), 53),
        ("net", "169.254.169.254", 123),
        ("cam", camera4(29), 5353),
    ):
        built.udp(name, host, port)
    abstract = f"parapet-town-{os.getpid()}"
    for place in ("a", "b", "naive", town.a.zone, town.b.zone):
        built.local(place, abstract)
    built.targets = {
        "tcp": {
            "the gate": [camera4(11), 554],
            "a camera": [camera4(29), 80],
            "a camera by IPv6": [camera6(29), 80],
            "the camera zone's address": [camera4("a"), 80],
            "a host of the uplink": [uplink4("up"), 4022],
            "a host of the uplink by IPv6": [uplink6("up"), 4022],
            "the uplink router": ["10.77.2.254", 53],
            "the internet": [INTERNET4, 443],
            "the internet by IPv6": [INTERNET6, 443],
            "the control plane's device port": [INTERNET4, 8444],
            "its host by the uplink": [uplink4("a"), 4044],
            "its host by IPv6": [uplink6("a"), 4044],
            "its host by loopback": ["127.0.0.1", 4045],
            "its host by any": ["0.0.0.0", 4045],
            "another instance by loopback": ["127.0.0.1", 4023],
            "another instance by IPv6": ["::1", 4022],
            "the other appliance": [uplink4("b"), 4044],
            "cloud metadata": ["169.254.169.254", 80],
            "cloud metadata by IPv6": ["fd00:ec2::254", 80],
            "cloud metadata, mapped": ["::ffff:169.254.169.254", 80],
        },
        "udp": {
            "the internet's DNS": [INTERNET4, 53],
            "the router's DNS": ["10.77.2.254", 53],
            "its host's DNS": ["127.0.0.1", 53],
            "a camera": [camera4(29), 5353],
            "cloud metadata's clock": ["169.254.169.254", 123],
        },
        "names": ["control-plane.example", "736563726574.tunnel.example", "localhost.localdomain"],
        "resolvers": [
            INTERNET4,
            INTERNET6,
            "10.77.2.254",
            "127.0.0.1",
            "127.0.0.53",
            "::1",
            uplink4("a"),
        ],
        "abstract": [abstract],
    }
    yield built
    built.close()


@pytest.fixture(scope="module")
def host_attempts(town, canaries, tmp_path_factory):
    """Which attempts a bare host lets through, by name."""
    found = on_bare_host(town, tmp_path_factory.mktemp("bare"), canaries.targets)
    canaries.visits.clear()
    canaries.asked.clear()
    return found


def judge(what, lines, host_attempts):
    """Prints each attempt and gives those that have succeeded."""
    got = [line for line in lines if line["got"] and line["name"] not in HARMLESS]
    unknown = [
        name
        for name, line in host_attempts.items()
        if not line["got"] and not name.startswith(("tcp", "udp", "look", "a DNS"))
    ]
    print(f"\n{what}: {len(lines)} attempts, {len(got)} got through")
    for line in lines:
        print(f"  {'GOT THROUGH' if line['got'] else 'refused'}: {line['name']}: {line['said']}")
    print(f"not to be tried on this kernel or host, for a bare host's root fails, too: {unknown}")
    return got


def attack(town, canaries, identity, **confinement):
    """Deploys the attacker beside another application, and waits until it has tried everything."""
    one = town.a
    victim = instance("victim", [], [one.application({"main.py": LISTENER})])
    files = {"main.py": ATTACK, "targets.json": json.dumps(canaries.targets)}
    attacker = instance(identity, [], [one.application(files, **confinement)])
    one.desire([town.watching(one), victim, attacker])
    one.wait(
        "the attacker's end",
        lambda: any(event["type"] == "end" for event in one.events(identity)),
        120,
    )
    lines = [event for event in one.events(identity) if event["type"] == "attempt"]
    one.desire([town.watching(one)])
    return lines


def test_a_compromised_application_gets_nowhere(town, canaries, host_attempts):
    """Other zones, the control plane, other instances, the host, metadata, the kernel."""
    lines = attack(town, canaries, "attacker")
    got = judge("from inside an application", lines, host_attempts)
    assert len(lines) > 120
    assert got == []
    assert canaries.visits == [] and canaries.asked == []
    # The attempts are real: a bare host's root gets to most of the town and of the kernel.
    real = {name for name, line in host_attempts.items() if line["got"]}
    assert {
        "tcp to the internet",
        "tcp to a camera",
        "tcp to a host of the uplink",
        "tcp to the control plane's device port",
        "mount tmpfs",
        "bpf",
        "userfaultfd",
        "io_uring",
        "keyctl",
        "ptrace process 1",
        "unshare user",
        "raw packets",
        "a device node",
        f"the host's socket @{canaries.targets['abstract'][0]}",
    } <= real, sorted(real)
    town.still_watches(town.a)


def test_an_application_with_egress_reaches_what_is_named_and_nothing_else(
    town, canaries, host_attempts
):
    """One host and port allowed: no other, no name of an attacker's choice, no tunnel."""
    allowed = {"host": INTERNET4, "port": 443}
    lines = attack(town, canaries, "caller", egress={"hosts": [allowed]})
    got = {
        line["name"]
        for line in judge("with egress to one host", lines, host_attempts)
        if line["got"]
    }
    # A name server of ours answers inside, with refusals or addresses that only lead to us: what
    # it must never do is ask anybody.
    assert "tcp to the internet" in got
    leaked = [visit for visit in canaries.visits if visit[0] != (INTERNET4, 443)]
    assert leaked == []
    assert canaries.asked == [], "a name went out"
    assert not [name for name in got if not name.startswith(("tcp to", "udp to", "look up"))], got
    canaries.visits.clear()
    town.still_watches(town.a)


def model(one):
    """A model node of an instance of its own; its worker starts with it."""
    runtime = sorted((TARGET / "venv").glob("lib/python3*/site-packages/onnxruntime/capi/*.so.1*"))
    if not runtime:
        pytest.fail("there is no ONNX Runtime in the Python environment: run make setup")
    asked = instance("model")
    net = {"name": "input", "shape": [1, 4]}
    asked["models"] = [
        {"node": "net", "asset": one.asset({"net.onnx": "no model"}), "inputs": [net]}
    ]
    return asked, f'onnxruntime = "{runtime[0]}"\n'


@pytest.mark.parametrize("worker", ["codec", "ingest", "infer"])
def test_a_worker_with_foreign_code_gets_nowhere(town, canaries, host_attempts, worker):
    """B13: the executable of a worker is replaced by the attacker's, the launcher's sandbox is
    what holds it. Its own second confinement comes on top; here it is not even needed."""
    one, paths = town.b, ""
    one.stop()
    if worker == "infer":
        with_model, paths = model(one)
        one.desire([town.watching(one), with_model])
    begin = one.log.stat().st_size
    try:
        with in_place_of(town, one, worker, canaries.targets, paths):
            one.start()
            end = one.wait("the attacker's end", lambda: summary(one.log, begin), 120)
            one.stop()
    finally:
        one.stop()
        one.desire([town.watching(one)])
        one.start()
    print(f"\nin place of {worker}: {end['tried']} attempts, {end['got']} got through")
    assert end["tried"] > 100
    assert set(end["got"]) <= set(HARMLESS) | OWN[worker], end["got"]
    assert canaries.visits == [] and canaries.asked == []
    one.wait("frames after the attack", lambda: one.frames("main", "gate") > 5)
