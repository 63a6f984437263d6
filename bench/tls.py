"""What a TLS 1.3 handshake costs the server in CPU time, full and resumed, beside a request on a
connection that is kept: ECDSA P-256, X25519, loopback.

Counted are all threads of the server's process, by the scheduler's own clock. The client is
Python's OpenSSL, which knows no X25519MLKEM768 yet.
"""

import statistics

import report
from control_plane import UNLIMITED, ask, control_plane

TURNS = 5
CONNECTIONS_A_TURN = 200
REQUESTS_A_TURN = 2_000
WARM = 50


def main():
    with control_plane(UNLIMITED) as plane:
        request = plane.request("/healthz")
        sides = {
            "request": lambda count: kept(plane, request, count),
            "full": lambda count: connections(plane, request, count, resume=False),
            "resumed": lambda count: connections(plane, request, count, resume=True),
        }
        for side in sides.values():
            side(WARM)
        turns = {name: [] for name in sides}
        for _ in range(TURNS):
            for name, side in sides.items():
                count = REQUESTS_A_TURN if name == "request" else CONNECTIONS_A_TURN
                before = plane.cpu_s()
                side(count)
                turns[name].append(1e6 * (plane.cpu_s() - before) / count)
    medians = {name: statistics.median(found) for name, found in turns.items()}
    rows = [
        (name, f"{medians[name]:.0f}", f"{medians[name] / medians['request']:.1f}")
        for name in sides
    ]
    report.table(["CPU of the server", "us each", "times a request"], rows)
    saved = medians["resumed"] / medians["full"]
    print(f"a resumed connection costs {saved:.2f} of a full one, each with one request")
    report.keep("tls", {"cpu_us": medians, "turns_us": turns, "resumed_to_full": saved})


def kept(plane, request, count):
    """Requests on one connection."""
    with plane.connect(plane.tls()) as connection:
        for _ in range(count):
            assert ask(connection, request) == 200


def connections(plane, request, count, resume):
    """Connections with one request each; with `resume` all but the first resume a session."""
    context, session = plane.tls(), None
    for number in range(count):
        with plane.connect(context, session) as connection:
            assert ask(connection, request) == 200
            assert connection.session_reused == (resume and number > 0)
            if resume:
                # The tickets came with the answer.
                session = connection.session


if __name__ == "__main__":
    main()
