"""Rules B10 and B11: an inbound port lives with its application; rules come before ports."""

import contextlib
import json
import socket
import time

import packets
from appliance import instance, wait_for
from packets import Scan, scan_tcp
from streets import camera4, run, uplink4, uplink6
from test_bridge import addresses, from_cameras

SERVER = """
import http.server, socket

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET

Server(("0.0.0.0", 8077), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def call(town, name, host, port, source=None):
    """Whether a host of the town gets an answer of HTTP."""
    with town.streets.inside(name):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        client = socket.socket(family)
    with client:
        client.settimeout(3)
        try:
            if source:
                client.bind((source, 0))
            client.connect((host, port))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return client.recv(64).startswith(b"HTTP/1.0 ")
        except OSError:
            return False


def listening(pid):
    """Addresses and ports that somebody listens at, in the network namespace of a process."""
    text = run("nsenter", f"--net=/proc/{pid}/ns/net", "ss", "-Hltn")
    return sorted(line.split()[3] for line in text.splitlines())


def test_an_inbound_port_is_open_on_the_uplink_alone_and_while_its_application_runs(town):
    """B10."""
    one = town.a
    port = {"host": 8077, "container": 8077, "sources": []}
    few = {
        "host": 8078,
        "container": 8077,
        "sources": [{"address": uplink4("naive"), "prefix": 32}],
    }
    server = one.application({"main.py": SERVER}, ports=[port, few])
    assert not call(town, "up", uplink4("a"), 8077)
    one.desire([town.watching(one), instance("server", [], [server])])
    one.wait("the published port", lambda: call(town, "up", uplink4("a"), 8077), 60)
    assert call(town, "naive", uplink4("a"), 8078), "a source that is listed"
    assert not call(town, "up", uplink4("a"), 8078), "a source that is not listed"
    open_at = [where for where in listening(one.process.pid) if where.rsplit(":", 1)[1][:2] == "80"]
    print(f"\nlistening while the application runs: {open_at}")
    for where in open_at:
        # At an address of the uplink, or at all of them and bound to the uplink's port alone.
        host, _, port = where.rsplit(":", 1)[0].strip("[]").partition("%")
        assert host in (uplink4("a"), uplink6("a")) or port == "eth0", where
    found = Scan()
    for target in addresses("a"):
        found.add(
            scan_tcp(town.streets, "bad", "eth1", from_cameras("a", target), range(8000, 9001))
        )
    assert found.open == []
    assert not call(town, "up", camera4("a"), 8077)
    one.desire([town.watching(one)])
    one.wait(
        "the ports' end",
        lambda: not [at for at in listening(one.process.pid) if at.endswith((":8077", ":8078"))],
        30,
    )
    assert not call(town, "up", uplink4("a"), 8077)


WRAPPER = """#!/bin/sh
/usr/sbin/ip -br link >> {log}
echo -- >> {log}
exec {real} "$@"
"""


@contextlib.contextmanager
def other_nft(town, text):
    """Words before a command that let it find another program in the place of `nft`."""
    real = run("sh", "-c", "readlink -f $(command -v nft)").strip()
    kept, other = town.directory / "nft-real", town.directory / "nft-other"
    kept.write_bytes(open(real, "rb").read())
    other.write_text(text.format(real=kept, log=town.directory / "nft-log"), encoding="utf-8")
    for path in (kept, other):
        path.chmod(0o755)
    yield [
        "unshare",
        "--mount",
        "--propagation",
        "unchanged",
        "sh",
        "-c",
        f'mount --make-rprivate --bind {other} {real} && exec "$@"',
        "sh",
    ]


def bare(town, one):
    """The appliance off, its host as before the first start, the camera port down.

    A zone that was made in a mount namespace of its own (`other_nft`) has gone with it, and with
    the zone this end of the cable: then it is plugged in again."""
    one.stop()
    one.remove_zones()
    if "eth1" not in town.streets.ip(one.name, "-br", "link"):
        # The kernel takes a dead zone's ports away in its own time.
        wait_for(
            "the end of the old cable",
            lambda: f"{one.name}-1@" not in town.streets.ip("cam", "-br", "link"),
            20,
        )
        town.streets.cable(one.name, "eth1", "cam", 1)
    assert "DOWN" in port_state(town, one)


def test_rules_are_loaded_before_a_camera_port_is_up(town):
    """B11: whenever `nft` is called, the camera port is down, or not yet in the zone."""
    one = town.b
    bare(town, one)
    log = town.directory / "nft-log"
    with other_nft(town, WRAPPER) as through:
        one.start(*through)
    one.wait("frames", lambda: one.frames("main", "gate") > 5)
    seen = [part for part in log.read_text(encoding="utf-8").split("--\n") if part.strip()]
    states = []
    for links in seen:
        found = [line.split()[1] for line in links.splitlines() if line.startswith("eth1")]
        states.append(found[0] if found else "absent")
    first_up = states.index("UP") if "UP" in states else len(states)
    print(f"\nthe camera port at each call of nft: {states}")
    # The host's table, then the zone's, both with the port down or elsewhere.
    assert first_up >= 2, states
    assert states[0] == "DOWN" and "absent" in states[:first_up], states
    assert one.network["separation"] == "separated"
    bare(town, one)
    one.start()


def port_state(town, one):
    """What `ip` says of the camera port in the host's namespace."""
    return run(
        "nsenter", f"--net={town.streets.path(one.name)}", "ip", "-br", "link", "show", "eth1"
    )


def test_where_rules_cannot_be_loaded_the_camera_port_stays_down(town):
    """B11: fail closed, and say so."""
    one = town.b
    bare(town, one)
    with (
        other_nft(town, "#!/bin/sh\necho 'no rules today' >&2\nexit 1\n") as through,
        packets.sniffing(town.streets, "cam", "b-1") as sniffer,
    ):
        one.start(*through)
        one.wait("the camera's error", lambda: one.node("main", "gate").get("status") == "ERROR")
        time.sleep(1)
        network, status = one.network, one.status()
        state = port_state(town, one)
        one.stop()
    print(f"\n{json.dumps(network)}")
    assert network["separation"] == "flat"
    assert "no rules today" in " ".join(network["missing"])
    assert "DOWN" in state
    assert sniffer.taken == []
    assert [sentence for sentence in status["missing"] + network["missing"] if "eth1" in sentence]
    bare(town, one)
    one.start()
    one.wait("frames with rules", lambda: one.frames("main", "gate") > 5)
    assert one.network["separation"] == "separated"
