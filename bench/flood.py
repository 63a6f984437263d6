"""Good callers while others flood the server: signed requests on a kept connection, and on new
connections, with and without bad handshakes and bad signatures.

Loopback, bounded: each flood sends a fixed number a second for some seconds, from an address of its
own as a stranger would. Floods and callers share the machine with the server, so a part of what the
flood costs is its own work; attackers run with the lowest priority to keep that part small.
"""

import multiprocessing
import os
import socket
import statistics
import threading
import time

import report
from control_plane import UNLIMITED, ask, control_plane

TURNS = 3
SECONDS = 6.0
HANDSHAKES_A_SECOND = 300
SIGNATURES_A_SECOND = 300
NEW_A_SECOND = 10
# No handshake finishes on any of these.
BAD_HELLOS = [
    b"GET / HTTP/1.1\r\n\r\n",
    bytes([22, 3, 1, 255, 255]) + bytes(600),
    # The head of a message that never comes: held until the server has enough of it.
    bytes([22, 3, 1, 2, 0, 1]),
]


def main():
    with control_plane(UNLIMITED) as plane:
        good = plane.signed("/devices")
        turns = {"quiet": [], "flood": []}
        callers(plane, good, 1.0)
        for _ in range(TURNS):
            turns["quiet"].append(callers(plane, good, SECONDS))
            turns["flood"].append(flooded(plane, good))
    rows, medians = [], {}
    for name, found in turns.items():
        medians[name] = {
            key: statistics.median(turn[key] for turn in found)
            for key in ["requests_per_s", "kept_p99_ms", "new_p99_ms", "refused", "cpu_share"]
        }
        median = medians[name]
        rows.append(
            (
                name,
                f"{median['requests_per_s']:.0f}",
                f"{median['kept_p99_ms']:.1f}",
                f"{median['new_p99_ms']:.1f}",
                f"{median['refused']:.0f}",
                f"{median['cpu_share']:.2f}",
            )
        )
    head = ["good callers", "requests/s", "p99 ms", "p99 ms, new", "refused", "CPU of server"]
    report.table(head, rows)
    ratio = medians["flood"]["requests_per_s"] / medians["quiet"]["requests_per_s"]
    print(
        f"under {HANDSHAKES_A_SECOND} bad handshakes and {SIGNATURES_A_SECOND} bad signatures a "
        f"second good callers get {ratio:.2f} of the quiet server"
    )
    report.keep("flood", {"medians": medians, "turns": turns, "ratio": ratio})


def callers(plane, good, seconds):
    """One caller on a kept connection without pause, one with new connections at a slow rate."""
    kept_ms, new_ms, refused = [], [], []
    end = time.monotonic() + seconds

    def new():
        context = plane.tls()
        while (begun := time.monotonic()) < end:
            with plane.connect(context) as connection:
                count(ask(connection, good), begun, new_ms, refused)
            time.sleep(max(0.0, 1 / NEW_A_SECOND - (time.monotonic() - begun)))

    other = threading.Thread(target=new)
    cpu_s = plane.cpu_s()
    other.start()
    with plane.connect(plane.tls()) as connection:
        while (begun := time.monotonic()) < end:
            count(ask(connection, good), begun, kept_ms, refused)
    other.join()
    return {
        "requests_per_s": len(kept_ms) / seconds,
        "kept_p99_ms": p99(kept_ms),
        "new_p99_ms": p99(new_ms),
        "refused": len(refused),
        "cpu_share": (plane.cpu_s() - cpu_s) / seconds,
    }


def count(status, begun, latencies_ms, refused):
    (latencies_ms if status == 200 else refused).append(1000 * (time.monotonic() - begun))


def p99(latencies_ms):
    return statistics.quantiles(latencies_ms, n=100)[98]


def flooded(plane, good):
    """The same callers while both floods run."""
    floods = [
        multiprocessing.Process(target=bad_handshakes, args=(plane, SECONDS + 2)),
        multiprocessing.Process(target=bad_signatures, args=(plane, good, SECONDS + 2)),
    ]
    for flood in floods:
        flood.start()
    time.sleep(1.0)
    found = callers(plane, good, SECONDS)
    for flood in floods:
        flood.join()
        assert flood.exitcode == 0, "a flood has failed"
    return found


def paced(per_second, seconds):
    """Yields so many numbers a second; what could not be kept up is left out."""
    begun = time.monotonic()
    for number in range(int(per_second * seconds)):
        wait = begun + number / per_second - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        if time.monotonic() - begun > seconds:
            return
        yield number


def bad_handshakes(plane, seconds):
    os.nice(19)
    held = []
    for number in paced(HANDSHAKES_A_SECOND, seconds):
        stream = socket.socket()
        stream.bind(("127.0.0.2", 0))
        stream.connect((plane.host, plane.port))
        stream.sendall(BAD_HELLOS[number % len(BAD_HELLOS)])
        held.append(stream)
        # The server has put these out long ago.
        while len(held) > 500:
            held.pop(0).close()


def bad_signatures(plane, good, seconds):
    os.nice(19)
    # One digit of the signature, which is the end of its header.
    at = good.index(b"Signature=") + len(b"Signature=")
    bad = good[:at] + (b"0" if good[at : at + 1] != b"0" else b"1") + good[at + 1 :]
    with plane.connect(plane.tls(), source="127.0.0.3") as connection:
        for _ in paced(SIGNATURES_A_SECOND, seconds):
            assert ask(connection, bad) in (403, 429)


if __name__ == "__main__":
    main()
