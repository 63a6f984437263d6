"""Rules B9 and B13, and cameras that lie: only configured addresses are ever contacted."""

import itertools
import json
import random
import re
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import packets
import pytest
from appliance import camera, instance
from packets import Way, send_all, sniffing
from streets import camera4, camera6, mac, run, uplink4


def leaves(host):
    """What a host says that begins something: not ARP, not neighbour discovery."""
    camera_port, uplink_port = mac(host, 1), mac(host, 2)

    def wanted(seen):
        if seen.from_mac not in (camera_port, uplink_port) or seen.kind == packets.ARP:
            return False
        # The kernel reports its multicast groups by itself, behind a hop-by-hop header.
        if seen.target == "ff02::16":
            return False
        return not (seen.protocol == packets.ICMP6 and seen.payload[0] in (133, 135, 136, 143))

    return wanted


@pytest.fixture(autouse=True)
def nothing_stays(town):
    """Whatever a test desired, the next one finds the gate's camera alone."""
    yield
    town.a.desire([town.watching(town.a)])


def test_a_camera_cannot_send_its_client_elsewhere(town):
    """B9: `Location`, SDP `c=` and `a=control`, `Content-Base`, `Transport`, server's requests."""
    tricks = {one.trick: one for one in town.hostile.all}
    # The trick is real: another client goes where it is sent.
    lured = tricks["location-302"]
    with sniffing(
        town.streets, "rtr", "naive-2", lambda seen: seen.target == lured.canary
    ) as followed:
        with town.streets.inside("naive"):
            subprocess.run(
                [
                    "ffprobe",
                    "-v",
                    "error",
                    "-rw_timeout",
                    "2000000",
                    "-rtsp_transport",
                    "tcp",
                    lured.url,
                ],
                capture_output=True,
                timeout=30,
                check=False,
            )
    assert followed.taken, "ffprobe does not follow: no test"
    for one in tricks.values():
        one.played = 0

    cameras = [camera(name, one.url) for name, one in tricks.items()]
    configured = {(one.address, 554) for one in tricks.values()} | {(camera4(11), 554)}
    with (
        sniffing(town.streets, "cam", "a-1", leaves("a")) as among_cameras,
        sniffing(town.streets, "rtr", "a-2", leaves("a")) as on_uplink,
    ):
        town.a.desire([town.watching(town.a), instance("lured", cameras)])
        for name, one in tricks.items():
            town.a.wait(f"the trick {name}", lambda one=one: one.played, 40)
        for name in tricks:
            if name.startswith("location-") or name == "sdp-control":
                town.a.wait(
                    f"the end of {name}",
                    lambda name=name: town.a.node("lured", name).get("status") == "ERROR",
                    40,
                )
        time.sleep(2)
    played = {name: one.played for name, one in tricks.items()}
    contacted = {(seen.target, seen.target_port) for seen in among_cameras.taken}
    beyond = {(seen.target, seen.target_port) for seen in on_uplink.taken}
    print(f"\ntricks played: {played}\ncontacted: {sorted(contacted)}")
    assert contacted <= configured, contacted - configured
    assert {seen.protocol for seen in among_cameras.taken} == {packets.TCP}
    assert not beyond, beyond
    town.a.desire([town.watching(town.a)])
    town.still_watches(town.a)


def test_a_camera_is_not_configured_outside_the_camera_network(town):
    """The agent refuses addresses that are its own, the uplink's, loopback's, metadata's."""
    wrong = {
        "loopback": "rtsp://127.0.0.1:554/x",
        "metadata": "rtsp://169.254.169.254/x",
        "own": f"rtsp://{camera4('a')}:554/x",
        "own-uplink": f"rtsp://{uplink4('a')}:554/x",
        "uplink": f"rtsp://{uplink4('up')}:554/x",
        "internet": "rtsp://203.0.113.10:554/x",
        "mapped": "rtsp://[::ffff:127.0.0.1]:554/x",
        "multicast": "rtsp://239.255.255.250:554/x",
        "number": "rtsp://2130706433/x",
        "own-six": f"rtsp://[{camera6('a')}]:554/x",
    }
    cameras = [camera(name, url) for name, url in wrong.items()]
    with (
        sniffing(town.streets, "rtr", "a-2", leaves("a")) as on_uplink,
        sniffing(town.streets, "cam", "a-1", leaves("a")) as among_cameras,
    ):
        town.a.desire([town.watching(town.a), instance("astray", cameras)])
        for name in wrong:
            town.a.wait(
                f"the refusal of {name}",
                lambda name=name: town.a.node("astray", name).get("status") == "ERROR",
                60,
            )
    reasons = {name: town.a.node("astray", name)["reason"] for name in wrong}
    print("\n" + "\n".join(f"{name}: {reason}" for name, reason in reasons.items()))
    assert on_uplink.taken == []
    assert {seen.target for seen in among_cameras.taken} == {camera4(11)}
    town.a.desire([town.watching(town.a)])
    town.still_watches(town.a)


def test_spoofed_segments_of_another_host_neither_reach_nor_end_a_stream(town):
    """Whoever cannot see the connection cannot speak in it: resets and data in a camera's name."""
    drawn = random.Random(7)
    way = Way(mac("bad", 1), mac("a", 1), camera4(11), camera4("a"))
    frames = []
    for _ in range(20_000):
        flags = drawn.choice((4, 0x14, 0x18, 2, 0x12))
        segment = struct.pack(
            "!HHIIBBHHH",
            554,
            drawn.randrange(32_768, 61_000),
            drawn.getrandbits(32),
            drawn.getrandbits(32),
            0x50,
            flags,
            1024,
            0,
            0,
        )
        payload = b"RTSP/1.0 200 OK\r\n\r\n" if flags & 8 else b""
        frames.append(way.frame(packets.TCP, way.checked(packets.TCP, segment + payload, 16)))
    pid = town.a.named("parapet-ingest")
    with town.streets.inside("bad"):
        out = packets.port("eth1")
    with out:
        sent = send_all(out, frames)
    town.still_watches(town.a)
    assert town.a.named("parapet-ingest") == pid, "the dialogue was begun anew"
    print(f"\n{sent} spoofed segments, the stream went on")


def test_a_camera_reaches_nothing_by_the_uplink_address(town):
    """From the camera's own address, answers included: nothing of the host listens to it."""
    with town.streets.inside("a"):
        service = socket.create_server(("::", 4022), family=socket.AF_INET6, dualstack_ipv6=True)
    with town.streets.inside("cam"):
        out = packets.port("br0")
        words = run("ip", "-br", "link", "show", "br0").split()
    hardware = bytes.fromhex(words[2].replace(":", ""))

    def answer(seen):
        return seen.target_port == packets.MARK and seen.from_mac == mac("a", 1)

    with service, out, sniffing(town.streets, "cam", "a-1", answer) as sniffer:
        for target in (camera4("a"), uplink4("a")):
            way = Way(hardware, mac("a", 1), camera4(11), target)
            send_all(out, way.syns(packets.ALL_PORTS))
    assert sniffer.taken == []


def ingest_user(town):
    """The host user of the gate's ingest at appliance a."""
    pid = town.a.named("parapet-ingest")[0]
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"Uid:\s+(\d+)", text).group(1))


def as_user(town, user, where, code, *arguments):
    """Runs Python as a host user in a network namespace; what it prints."""
    return run(
        "nsenter",
        f"--net={where}",
        "setpriv",
        f"--reuid={user}",
        f"--regid={user}",
        "--clear-groups",
        "--no-new-privs",
        "/usr/bin/python3",
        "-c",
        code,
        *arguments,
        timeout=120,
    )


TRY = """
import concurrent.futures, json, socket, sys
def reach(place):
    try:
        socket.create_connection(place, timeout=0.5).close()
        return [*place]
    except ConnectionRefusedError:
        return [*place, "refused"]
    except OSError:
        return None
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    print(json.dumps([got for got in pool.map(reach, json.loads(sys.argv[1])) if got]))
"""


def test_whoever_takes_over_an_ingest_reaches_its_camera_alone(town):
    """B13: the user of the gate's ingest, in the camera zone, with code of the attacker's."""
    targets = [[camera4(11), 554]]
    targets += [[camera4(11), port] for port in (22, 80, 443, 555)]
    targets += [[camera4(last), 554] for last in range(12, 23)]
    targets += [
        [camera6(11), 554],
        [camera4("bad"), 80],
        [camera4("b"), 80],
        [uplink4("a"), 22],
        [uplink4("up"), 443],
        ["203.0.113.10", 443],
        ["169.254.169.254", 80],
        ["127.0.0.1", 80],
        ["10.77.2.254", 53],
    ]
    user = ingest_user(town)
    got = json.loads(as_user(town, user, town.a.zone, TRY, json.dumps(targets)))
    print(f"\nof {len(targets)} places the ingest's user reached {got}")
    assert got == [[camera4(11), 554]]
    # Nobody else's user reaches any camera: not the agent's, a decoder's, an application's, root's.
    for other in (town.a.id_base, town.a.id_base + 60_000, town.a.id_base + 65_536, 0, 65_534):
        got = json.loads(as_user(town, other, town.a.zone, TRY, json.dumps(targets)))
        assert got == [], (other, got)
    # And on the uplink an ingest's or application's user reaches nothing at all.
    beyond = [[uplink4("up"), 4022], ["203.0.113.10", 443], ["10.77.2.254", 53], [camera4(11), 554]]
    with town.streets.inside("up"):
        canary = socket.create_server((uplink4("up"), 4022))
    with canary:
        for other in (user, town.a.id_base + 60_000, town.a.id_base + 65_536):
            where = town.streets.path("a")
            got = json.loads(as_user(town, other, where, TRY, json.dumps(beyond)))
            assert got == [], (other, got)
        # The attempt is real: the agent's user gets there.
        got = json.loads(as_user(town, town.a.id_base, where, TRY, json.dumps(beyond)))
        assert [uplink4("up"), 4022] in got, got


def test_the_metadata_service_of_a_cloud_is_out_of_everybodys_reach(town):
    """It answers whoever asks with the machine's credentials; this town has one."""
    with town.streets.inside("net"):
        service = socket.create_server(("169.254.169.254", 80))
    targets = json.dumps([["169.254.169.254", 80]])
    with service:
        reached = json.loads(as_user(town, 65_534, town.streets.path("up"), TRY, targets))
        assert reached == [["169.254.169.254", 80]], "it does not answer: no test"
        where = town.streets.path("a")
        for user in (town.a.id_base, ingest_user(town), town.a.id_base + 65_536):
            assert json.loads(as_user(town, user, where, TRY, targets)) == [], user


def test_no_packet_passes_while_rules_change(town):
    """The gap of a reload: a flood of probes from the cameras while what is reached changes."""
    flood = Way(mac("bad", 1), mac("a", 1), camera4("bad"), camera4("a"))
    over = Way(mac("bad", 1), mac("a", 1), camera4("bad"), uplink4("up"))
    ended = threading.Event()
    sent = [0]
    with town.streets.inside("bad"):
        out = packets.port("eth1")
    with town.streets.inside(town.a.zone):
        service = socket.create_server(("::", 4022), family=socket.AF_INET6, dualstack_ipv6=True)

    def send():
        probe, cross = flood.syn(4022), over.syn(443)
        while not ended.is_set():
            sent[0] += send_all(out, itertools.chain([probe] * 50, [cross] * 50))

    def answers(seen):
        return seen.from_mac == mac("a", 1) and seen.target_port == packets.MARK

    def crossing(seen):
        return seen.source_port == packets.MARK

    thread = threading.Thread(target=send)
    with (
        service,
        out,
        sniffing(town.streets, "cam", "a-1", answers) as answered,
        sniffing(town.streets, "rtr", "a-2", crossing) as crossed,
    ):
        thread.start()
        for _ in range(5):
            extra = [camera(f"extra-{n}", f"rtsp://{camera4(23 + n)}:554/x") for n in range(4)]
            town.a.desire([town.watching(town.a), instance("extra", extra)])
            town.a.wait("the change", lambda: len(town.a.named("parapet-ingest")) == 5, 30)
            town.a.desire([town.watching(town.a)])
            town.a.wait("the change back", lambda: len(town.a.named("parapet-ingest")) == 1, 30)
        # All rules anew, as the next start loads them.
        for where in (town.a.zone, town.streets.path("a")):
            listed = run("nsenter", f"--net={where}", "nft", "list", "table", "inet", town.a.table)
            again = f"table inet {town.a.table} {{}}\ndelete table inet {town.a.table}\n{listed}"
            for _ in range(20):
                run("nsenter", f"--net={where}", "nft", "-f", "-", input=again)
        ended.set()
        thread.join()
    print(
        f"\n{sent[0]} packets while rules changed 10 times and were loaded anew 40 times:"
        f" {len(answered.taken)} answered, {len(crossed.taken)} crossed"
    )
    assert sent[0] > 10_000
    assert answered.taken == [] and crossed.taken == []
    town.still_watches(town.a)
