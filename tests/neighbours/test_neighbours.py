"""A bad neighbour beside a good application: `bench/neighbours.py` with less time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
TURN_S = 3
# The benchmark aims at 0.95. A test shares its machine with other tests, and has less time.
LEAST = 0.7
LIMIT_S = 240


@pytest.fixture(scope="module")
def turns():
    """What each kind of neighbour did."""
    if os.geteuid() != 0:
        pytest.skip("limits belong to root: run as root")
    result = TARGET / "bench" / "neighbours.json"
    result.unlink(missing_ok=True)
    run = subprocess.run(
        [sys.executable, ROOT / "bench" / "neighbours.py", str(TURN_S)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    told = json.loads(result.read_text(encoding="utf-8"))["turns"]
    return {turn["kind"]: turn for turn in told}


@pytest.mark.parametrize("kind", ["memory", "forks", "busy", "disk"])
def test_a_bad_neighbour_takes_no_frames(turns, kind):
    """Whatever it takes, the other application goes on."""
    assert turns[kind]["ratio"] >= LEAST, turns[kind]


def test_the_operator_is_told_what_a_neighbour_ran_into(turns):
    """By codes of their own; and the disk really was full."""
    assert "memory" in turns["memory"]["said"], turns["memory"]
    assert "storage" in turns["disk"]["said"], turns["disk"]
    assert turns["disk"]["full"], turns["disk"]
