"""Where the executables are, which machine this is, and how results are shown and kept."""

import json
import os
import platform
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
RESULTS = TARGET / "bench"


def build():
    """`debug` or `release`: what `PARAPET_BUILD` says, else what is there, debug first."""
    wanted = os.environ.get("PARAPET_BUILD")
    if wanted not in (None, "", "debug", "release"):
        sys.exit(f"bench: PARAPET_BUILD={wanted}: set it to debug or release")
    for name in [wanted] if wanted else ["debug", "release"]:
        if (TARGET / name / "parapet").exists():
            return name
    remedy = "cargo build --release --locked --bins" if wanted == "release" else "make build"
    sys.exit(f"bench: no {wanted or 'debug or release'} build in {TARGET}: run `{remedy}`")


def executable(name):
    """The path of one of Parapet's executables."""
    path = TARGET / build() / name
    if not path.exists():
        sys.exit(f"bench: {path} is not there: build it")
    return path


def machine():
    """What a figure depends on."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "load_1_min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def table(head, rows):
    """Prints a table: the first column left, all others right."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    for row in cells:
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  ".join([row[0].ljust(widths[0]), *rest]))


def keep(name, result):
    """Writes `target/bench/<name>.json`."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    head = {
        "name": name,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "build": build(),
        "machine": machine(),
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**head, **result}, indent=1) + "\n", encoding="utf-8")
    print(f"kept in {path}\n")
