"""An appliance of a control plane beyond the uplink's router, and what is its alone: to be it."""

import json
from pathlib import Path

import pytest
from appliance import GATE, IDENTITY, PASSWORD, two_ports
from attackers import ATTACK, OWN, in_place_of, on_bare_host, summary
from streets import HOSTS, PLANE4, camera4


@pytest.fixture(scope="module")
def enrolled(town, plane):
    """Appliance `c`, with an application of the control plane's that watches the gate."""
    one = town.c
    one.configure(two_ports(HOSTS["c"]))
    with plane.operator() as operator:
        one.device, archive = operator.device("dock")
        operator.camera("gate", GATE, ("viewer", PASSWORD))
        made = operator.deploy("watcher", one.device, "watcher", ["gate"])
    one.watcher = made.removeprefix(IDENTITY)
    one.enrol(archive)
    one.start()
    one.wait("frames of the gate", lambda: one.frames(one.watcher, "gate") > 5)
    yield one
    one.stop()


def test_an_enrolled_appliance_tells_its_level_to_the_control_plane(enrolled, plane):
    """Through the router; its cameras stay behind it."""
    enrolled.wait(
        "its level at the control plane",
        lambda: plane.separation(enrolled.device) == ("separated", []),
    )
    assert enrolled.network["separation"] == "separated", enrolled.network


def everything_of_the_device(one, plane):
    """Where the control plane is, and all that makes an appliance the one that it knows."""
    kept = one.data / "device"
    files = [str(path) for path in [kept, *kept.rglob("*")] if path.name != "inbound"]
    places = [one.data, Path(f"/run/parapet/{one.id_base:08x}")]
    sockets = [str(it) for place in places for it in place.rglob("*") if it.is_socket()]
    assert any("key" in path for path in files) and sockets, (files, sockets)
    return {
        "tcp": {
            "the gate": [camera4(11), 554],
            "the control plane's API": [PLANE4, plane.server.api[1]],
            "the control plane's device port": [PLANE4, plane.server.device[1]],
        },
        "udp": {},
        "names": [],
        "resolvers": [],
        "abstract": [],
        "files": files,
        "sockets": sockets,
        "only": True,
    }


def test_nobody_inside_reaches_the_control_plane_as_the_device(town, enrolled, plane, tmp_path):
    """From a compromised application and a compromised ingest: no way there, no key, no socket of
    the agent or launcher, no other application's."""
    one = enrolled
    targets = everything_of_the_device(one, plane)
    # Whoever is root on a host has all of it.
    bare = on_bare_host(town, tmp_path, targets)
    have = [name for name, line in bare.items() if line["got"]]
    for path in targets["files"]:
        assert f"read {path}" in have, bare[f"read {path}"]
    for path in targets["sockets"]:
        assert f"the socket {path}" in have, bare[f"the socket {path}"]
    assert "tcp to the control plane's device port" in have

    with plane.operator() as operator:
        files = {"main.py": ATTACK, "targets.json": json.dumps(targets)}
        operator.package("attacker", files)
        made = operator.deploy("attacker", one.device, "attacker")
    attacker = made.removeprefix(IDENTITY)
    end = one.wait(
        "the attacker's end",
        lambda: next((it for it in one.events(attacker) if it["type"] == "end"), None),
    )
    print(f"\nin an application: {end['tried']} attempts, {end['got']} got through")
    assert end["tried"] == len(bare)
    assert end["got"] == []
    with plane.operator() as operator:
        operator.remove(made)

    one.stop()
    begin = one.log.stat().st_size
    with in_place_of(town, one, "ingest", targets):
        one.start()
        end = one.wait("the attacker's end", lambda: summary(one.log, begin))
        one.stop()
    print(f"in place of an ingest: {end['tried']} attempts, {end['got']} got through")
    assert end["tried"] == len(bare)
    assert set(end["got"]) <= OWN["ingest"]
