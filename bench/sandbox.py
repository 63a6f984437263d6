"""What the sandbox costs: the whole pipeline with every layer on, and with none.

One virtual camera, one agent a turn, the same programs. On: the launcher as it is, as root, with
namespaces, users, control groups, filters of system calls, Landlock and rules by user. Off:
`plain_launcher.py`, which starts them as plain processes. Both sides run at the camera's pace, so
what a layer costs is CPU time and latency.
"""

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import frames
import processes
import report
from neighbours import alone

HERE = Path(__file__).resolve().parent
PAIRS = 3
TURN_S = 10.0
AIM = 1.05


def main():
    """Measures, prints, keeps."""
    if os.geteuid() != 0:
        raise SystemExit("sandbox: users and zones belong to root; run as root")
    alone()
    report.RESULTS.mkdir(parents=True, exist_ok=True)
    print(f"sandbox: {frames.SIZE} at {frames.FPS}/s; {report.build()} build")
    work = Path(tempfile.mkdtemp(prefix="sandbox-", dir=report.RESULTS))
    try:
        with frames.camera() as url:
            turns = []
            for pair in range(PAIRS):
                sides = ["on", "off"] if pair % 2 == 0 else ["off", "on"]
                turns += [turn(work / f"{pair}-{side}", side, url) for side in sides]
    finally:
        shutil.rmtree(work)
    show(turns)


def turn(work, side, url):
    """One side for a while: frames a second, CPU a frame, latency."""
    desired = frames.lay_out(work, url)
    libexec = work / "libexec"
    libexec.mkdir()
    for name in ["parapet", "parapet-launcher", "parapet-ingest", "parapet-codec", "parapet-infer"]:
        (libexec / name).symlink_to(report.executable(name))
    if side == "off":
        launcher = libexec / "parapet-launcher"
        launcher.unlink()
        line = f'#!/bin/sh\nexec {sys.executable} {HERE / "plain_launcher.py"} "$@"\n'
        launcher.write_text(line, encoding="utf-8")
        launcher.chmod(0o755)
    sdk = HERE.parent / "python"
    config = work / "agent.toml"
    config.write_text(f'[paths]\nlibexec = "{libexec}"\nsdk = "{sdk}"\n', encoding="utf-8")
    command = [report.executable("parapet"), "agent", "--config", config]
    command += ["--data", work / "data", "--desired", desired]
    count = work / "data" / "instances" / frames.INSTANCE / "storage" / "count"
    log = report.RESULTS / f"sandbox-{side}.log"
    with open(log, "ab") as out:
        process = frames.subprocess.Popen(
            command, stdin=frames.subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        frames.wait_for(side, process, count, log)
        time.sleep(frames.WARM_S)
        before, first, begun = looked(process.pid), frames.counted(count), time.monotonic()
        time.sleep(TURN_S)
        after, last, ended = looked(process.pid), frames.counted(count), time.monotonic()
        stream = streams(work / "data")
    except processes.ProcessEnded as error:
        raise SystemExit(f"sandbox: {side}: {error}: see {log}") from None
    finally:
        frames.end(side, process)
    cpu = processes.spent(before, after)
    taken = last - first
    return {
        "side": side,
        "frames_per_s": taken / (ended - begun),
        "cpu_ms_a_frame": 1000 * sum(cpu.values()) / taken,
        "latency_p50_ms": stream["latency_p50_ms"],
        "latency_p99_ms": stream["latency_p99_ms"],
    }


def looked(pid):
    """The processes of a side but for the launcher, the agent's own child, which only waits."""
    return [one for one in processes.tree(pid) if one.parent != pid]


def streams(data):
    """What the appliance itself says of the camera's stream."""
    status = json.loads((data / "status.json").read_text(encoding="utf-8"))
    nodes = [node for one in status["reported"]["instances"] for node in one["nodes"]]
    return next(node["stream"] for node in nodes if node["stream"])


def show(turns):
    """Prints turns and ratios; keeps them."""
    rows = [
        [
            f"{at // 2 + 1} {one['side']}",
            f"{one['frames_per_s']:.2f}",
            f"{one['cpu_ms_a_frame']:.2f}",
            f"{one['latency_p50_ms']:.1f}",
            f"{one['latency_p99_ms']:.1f}",
        ]
        for at, one in enumerate(turns)
    ]
    report.table(["turn", "frames/s", "CPU ms/frame", "p50 ms", "p99 ms"], rows)
    ratios = {}
    for what in ("frames_per_s", "cpu_ms_a_frame", "latency_p50_ms", "latency_p99_ms"):
        sides = {
            side: statistics.median(one[what] for one in turns if one["side"] == side)
            for side in ("on", "off")
        }
        ratios[what] = round(sides["on"] / sides["off"], 3)
    told = ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items())
    print(f"on through off, medians: {told} (aim: CPU and latency at most {AIM})")
    report.keep("sandbox", {"turns": turns, "ratios": ratios, "aim": AIM})


if __name__ == "__main__":
    main()
