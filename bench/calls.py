"""What it costs to know who calls and what they may: CPU of the server for a signed question beside
the bare server's, on one kept connection; and the parts alone, a signature and a decision of ten
policies, in a process of their own.
"""

import json
import os
import statistics
import subprocess
from pathlib import Path

import report
from control_plane import UNLIMITED, ask, control_plane

TURNS = 5
REQUESTS_A_TURN = 1_000
WARM = 100
ROOT = Path(__file__).resolve().parent.parent
PARTS = {"signature": "bench_sigv4", "decision": "bench_policy"}


def main():
    with control_plane(UNLIMITED) as plane:
        sides = {
            "bare: /healthz": plane.request("/healthz"),
            "refused: no signature": plane.request("/devices"),
            "signed: ListDevices": plane.signed("/devices"),
            "signed: ListPackages": plane.signed("/packages"),
        }
        turns = {name: [] for name in sides}
        for turn in range(TURNS + 1):
            for name, request in sides.items():
                count = REQUESTS_A_TURN if turn else WARM
                before = plane.cpu_s()
                kept(plane, request, count, 403 if name.startswith("refused") else 200)
                if turn:
                    turns[name].append(1e6 * (plane.cpu_s() - before) / count)
    medians = {name: statistics.median(found) for name, found in turns.items()}
    bare = medians["bare: /healthz"]
    rows = [(name, f"{found:.0f}", f"{found / bare:.1f}") for name, found in medians.items()]
    report.table(["CPU of the server", "us a request", "times the bare server"], rows)

    parts = {name: part(example) for name, example in PARTS.items()}
    for name, figures in parts.items():
        print(f"{name} alone: {json.dumps(figures)}")
    report.keep("calls", {"cpu_us": medians, "turns_us": turns, "parts": parts})


def kept(plane, request, count, status):
    """Requests on one connection."""
    with plane.connect(plane.tls()) as connection:
        for _ in range(count):
            assert ask(connection, request) == status


def part(example):
    """The one JSON object that a measuring program prints."""
    command = ["cargo", "run", "--quiet", "--locked", "--package", "parapet-auth"]
    if os.environ.get("PARAPET_BUILD") == "release":
        command.append("--release")
    done = subprocess.run(
        [*command, "--example", example], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
