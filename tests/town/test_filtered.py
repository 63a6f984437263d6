"""An appliance with one port for everything: what rules can hold without ports apart, and what is
said where there are none."""

import contextlib
import json
import re
import socket
import subprocess
from pathlib import Path

import packets
import pytest
from appliance import IDENTITY, PASSWORD
from attackers import ATTACK, on_bare_host
from packets import Way, send_all, sniffing
from streets import INTERNET4, PLANE4, mac, run, uplink4, uplink6
from test_cameras import TRY, as_user
from test_life import other_nft

# Cameras on the uplink's own network; the second is nobody's here.
YARD, OTHER = uplink4("lan"), uplink4(31)
ONE_PORT = '[network]\nuplink = ["eth0"]\ncameras = ["eth0"]'


@pytest.fixture(scope="module")
def flat_host(town, plane):
    """Appliance `f`, enrolled, with an application that watches the yard; both cameras answer."""
    one = town.f
    town.camera("yard", YARD, "lan")
    town.camera("other", OTHER, "lan")
    one.configure(ONE_PORT)
    with plane.operator() as operator:
        one.device, archive = operator.device("shed")
        operator.camera("yard", f"rtsp://{YARD}:554/yard", ("viewer", PASSWORD))
        made = operator.deploy("shed", one.device, "watcher", ["yard"])
    one.watcher = made.removeprefix(IDENTITY)
    one.enrol(archive)
    one.start()
    one.wait("frames of the yard", lambda: one.frames(one.watcher, "yard") > 5)
    yield one
    one.stop()


def user_of(one, name):
    """The host user of a process of the appliance."""
    text = Path(f"/proc/{one.named(name)[0]}/status").read_text(encoding="utf-8")
    return int(re.search(r"Uid:\s+(\d+)", text).group(1))


def reached(town, where, user, targets):
    """Whom a user of a host reaches, be it that they refuse."""
    path = town.streets.path(where)
    return json.loads(as_user(town, user, path, TRY, json.dumps(targets)))


LISTEN = """
import socket, sys
kept = socket.create_server(("0.0.0.0", 4023))
print("listens", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def listener(town, user):
    """A user of the flat host who listens there."""
    words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "/usr/bin/python3"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with town.streets.inside("f"):
        process = subprocess.Popen([*words, "-c", LISTEN], **pipes)
    try:
        assert process.stdout.readline() == b"listens\n"
        yield
    finally:
        process.communicate()


def inside(one, plane, targets):
    """What an attacker in an application of this appliance gets of these targets by TCP."""
    whole = {"udp": {}, "names": [], "resolvers": [], "abstract": [], "only": True, "tcp": targets}
    name = f"attacker-{one.generation}"
    one.generation += 1
    with plane.operator() as operator:
        operator.package(name, {"main.py": ATTACK, "targets.json": json.dumps(whole)})
        made = operator.deploy(name, one.device, name)
    attacker = made.removeprefix(IDENTITY)
    end = one.wait(
        "the attacker's end",
        lambda: next((it for it in one.events(attacker) if it["type"] == "end"), None),
    )
    with plane.operator() as operator:
        operator.remove(made)
    assert end["tried"] == len(targets)
    return end["got"], whole


def test_one_port_reaches_filtered_and_says_so(flat_host, plane):
    """In status.json and by `DescribeDevice`."""
    assert flat_host.network["separation"] == "filtered", flat_host.network
    flat_host.wait(
        "its level at the control plane",
        lambda: plane.separation(flat_host.device)[0] == "filtered",
    )


def test_one_port_still_lets_each_process_reach_its_own_and_nothing_else(
    town, flat_host, plane, tmp_path
):
    """Rules by user: an ingest its camera, a decoder nobody, an application nobody, and the agent
    no metadata service."""
    one = flat_host
    everybody = [
        [YARD, 554],
        [YARD, 555],
        [OTHER, 554],
        [uplink4("up"), 4022],
        [uplink4("a"), 4022],
        [PLANE4, plane.server.device[1]],
        [INTERNET4, 443],
        ["169.254.169.254", 80],
        ["127.0.0.1", 4022],
    ]
    # A host without rules reaches whom there is, as the same user.
    user = user_of(one, "parapet-ingest")
    free = [tuple(who[:2]) for who in reached(town, "naive", user, everybody)]
    assert {(YARD, 554), (OTHER, 554), (PLANE4, plane.server.device[1])} <= set(free), free
    assert reached(town, "f", user, everybody) == [[YARD, 554]]
    assert reached(town, "f", user_of(one, "parapet-codec"), everybody) == []
    # The first user of an application: one that has got out of its own network.
    assert reached(town, "f", one.id_base + 0x10000, everybody) == []
    agent = {tuple(who[:2]) for who in reached(town, "f", one.id_base, everybody)}
    assert (PLANE4, plane.server.device[1]) in agent
    assert ("169.254.169.254", 80) not in agent

    # Nor is anybody answered who calls it, though it may listen.
    for who, answered in ((user, []), (0, [[uplink4("f"), 4023]])):
        with listener(town, who):
            assert reached(town, "up", 65_534, [[uplink4("f"), 4023]]) == answered

    named = {f"{host}:{port}": [host, port] for host, port in everybody[:-1]}
    got, targets = inside(one, plane, named)
    assert got == []
    bare = on_bare_host(town, tmp_path, targets)
    assert bare[f"tcp to {YARD}:554"]["got"] and bare[f"tcp to {OTHER}:554"]["got"]


def test_on_one_port_a_camera_begins_nothing_and_is_passed_on_to_nobody(town, flat_host):
    """Others of that network are there as before: the owner's own services answer them."""
    streets = town.streets
    with streets.inside("f"):
        service = socket.create_server(("::", 4022), family=socket.AF_INET6, dualstack_ipv6=True)

    def answers(seen):
        return seen.from_mac == mac("f", 2) and seen.target_port == packets.MARK

    def asks(name, source, wanted):
        """Whether a host of the network gets an answer of the service in this name; one that is
        wanted is waited for."""
        way = Way(mac(name, 2), mac("f", 2), source, uplink4("f"))
        with streets.inside(name):
            out = packets.port("eth0")
        with out, sniffing(streets, "rtr", "f-2", answers) as sniffer:
            send_all(out, way.syns([4022] * 3))
            sniffer.wait(lambda seen: True, 5.0 if wanted else 0.3)
        return bool(sniffer.taken)

    def passed_on(host, wanted):
        """Whether a camera's packets to the internet leave a host again."""
        way = Way(mac("lan", 2), mac(host, 2), YARD, INTERNET4)
        with streets.inside("lan"):
            out = packets.port("eth0")
        again = lambda seen: seen.from_mac == mac(host, 2) and seen.target == INTERNET4  # noqa: E731
        with out, sniffing(streets, "rtr", f"{host}-2", again) as sniffer:
            send_all(out, [way.syn(443)] * 20)
            sniffer.wait(lambda seen: True, 5.0 if wanted else 0.3)
        return bool(sniffer.taken)

    with service:
        assert asks("up", uplink4("up"), True), "the owner's service answers its neighbours"
        assert not asks("lan", YARD, False)
        # A camera that nobody here watches is a neighbour like others.
        assert asks("lan", OTHER, True)
    streets.forwarding("f", 1)
    try:
        assert passed_on("naive", True), "a host that forwards passes nothing on: no test"
        assert not passed_on("f", False)
    finally:
        streets.forwarding("f", 0)
    flat_host.wait("more frames", lambda: flat_host.frames(flat_host.watcher, "yard") > 20)


def test_where_nothing_can_be_loaded_the_level_is_flat_and_applications_reach_nobody(
    town, flat_host, plane
):
    """The reason is said here and at the control plane; cameras are read, since none was to have a
    port of its own."""
    one = flat_host
    one.stop()
    one.remove_zones()
    with other_nft(town, "#!/bin/sh\necho 'no rules today' >&2\nexit 1\n") as through:
        one.start(*through)
        one.wait("frames without rules", lambda: one.frames(one.watcher, "yard") > 5)
        assert one.network["separation"] == "flat", one.network
        assert "no rules today" in " ".join(one.network["missing"])

        def told():
            level, missing = plane.separation(one.device)
            return level == "flat" and "no rules today" in " ".join(missing)

        one.wait("its level at the control plane", told)
        assert run("nsenter", f"--net={town.streets.path('f')}", "nft", "list", "tables") == ""
        hosts = [[YARD, 554], [OTHER, 554], [uplink6("up"), 4022]]
        hosts.append([PLANE4, plane.server.device[1]])
        assert inside(one, plane, {f"{it[0]}:{it[1]}": it for it in hosts})[0] == []
        one.stop()
    one.start()
    one.wait("rules", lambda: one.network["separation"] == "filtered")
