"""Frames to Python per CPU second: Parapet's whole appliance against OpenCV's VideoCapture.

One virtual camera serves both, in turns. A turn starts its side, lets it warm up, then counts
pictures and CPU time; the camera's own CPU time counts for nobody.
"""

import hashlib
import json
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import processes
import report

HERE = Path(__file__).resolve().parent

SIZE, FPS, LOOP_S = "1920x1080", 25, 4
PAIRS = 2
TURN_S = 10.0
# What is paid once at the start is not measured. OpenCV falls behind while it opens the stream and
# then catches up, faster than the camera: with WARM_S both sides are measured at the camera's pace.
WARM_FRAMES = 25
WARM_S = 1.5
# The first picture comes after unpacking, start of the sandbox and the stream's next key frame.
START_LIMIT_S = 30.0
END_LIMIT_S = 25.0
INSTANCE = "applicationInstance-bench"
# Fewer of the camera's pictures than this are a loss, more are a matter of when one looks.
LEAST_SHARE = 0.98
AIM = 2.0


@dataclass(frozen=True)
class Turn:
    """What one side did in one turn."""

    side: str
    frames: int
    seconds: float
    cpu_by_process: dict

    @property
    def cpu_s(self):
        """CPU seconds of all its processes."""
        return sum(self.cpu_by_process.values())


def main():
    """Measures, prints, keeps."""
    report.RESULTS.mkdir(parents=True, exist_ok=True)
    print(
        f"frames: {SIZE} at {FPS}/s, H.264 over RTSP (TCP); {report.build()} build,"
        f" {report.machine()['cpus']} CPUs"
    )
    work = Path(tempfile.mkdtemp(prefix="frames-", dir=report.RESULTS))
    try:
        with camera() as url:
            desired = lay_out(work, url)
            turns = []
            for _ in range(PAIRS):
                turns.append(appliance_turn(work, desired))
                turns.append(opencv_turn(work, url))
    finally:
        shutil.rmtree(work)
    show(turns)


@contextmanager
def camera():
    """A virtual camera for both sides; the first one ever draws its scene, for some seconds."""
    command = [report.executable("parapet-virtual-camera")]
    command += ["--size", SIZE, "--fps", str(FPS), "--seconds", str(LOOP_S)]
    command += ["--cache", report.RESULTS / "cache"]
    # It ends with its standard input.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        line = process.stdout.readline()
        if not line:
            raise SystemExit("bench: the virtual camera has not started: see its message above")
        try:
            yield json.loads(line)["url"]
        finally:
            process.stdin.close()


def lay_out(work, url):
    """The appliance's state directory with a desired document, the asset and no secrets."""
    origin = work / "data" / "origin"
    (origin / "blobs").mkdir(parents=True)
    archive = work / "application.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("app.py", "consumer.py"):
            tar.add(HERE / "application" / name, f"panorama/{name}")
    content = archive.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    (origin / "blobs" / digest).write_bytes(content)
    application = {
        "node": "code",
        "asset": {"sha256": digest, "bytes": len(content)},
        "command": ["python3", "/panorama/app.py"],
        "environment": [],
        "inputs": [{"name": "video_in", "source": {"type": "media", "cameras": ["camera"]}}],
        "outputs": [],
    }
    stream = {"node": "camera", "stream": "camera", "url": url, "secret": None, "paused": False}
    instance = {
        "id": INSTANCE,
        "name": "bench",
        "cameras": [stream],
        "models": [],
        "applications": [application],
        "displays": [],
    }
    document = {"version": 1, "device": "device-bench", "generation": 1, "instances": [instance]}
    desired = origin / "desired.json"
    desired.write_text(json.dumps(document), encoding="utf-8")
    (origin / "desired.json.secrets.json").write_text("{}", encoding="utf-8")
    return desired


def appliance_turn(work, desired):
    """Side A: agent, launcher, ingest, codec, sandbox and application, all of them counted."""
    count = work / "data" / "instances" / INSTANCE / "storage" / "count"
    count.unlink(missing_ok=True)
    command = [report.executable("parapet"), "agent"]
    command += ["--data", work / "data", "--desired", desired]
    return turn("Parapet", command, count, report.RESULTS / "agent.log")


def opencv_turn(work, url):
    """Side B: one process, OpenCV as it comes but for the transport."""
    count = work / "count"
    count.unlink(missing_ok=True)
    python = report.TARGET / "bench-venv" / "bin" / "python"
    command = [python, HERE / "opencv_reader.py", url, count]
    return turn("OpenCV", command, count, report.RESULTS / "opencv.log")


def turn(side, command, count, log):
    """Starts one side, measures it once it is warm, and ends it."""
    with open(log, "ab") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        wait_for(side, process, count, log)
        time.sleep(WARM_S)
        before, first, begun = processes.tree(process.pid), counted(count), time.monotonic()
        time.sleep(TURN_S)
        after, last, ended = processes.tree(process.pid), counted(count), time.monotonic()
        spent = processes.spent(before, after)
    except processes.ProcessEnded as error:
        raise SystemExit(f"bench: {side}: {error}: see {log}") from None
    finally:
        end(side, process)
    return Turn(side, last - first, ended - begun, spent)


def wait_for(side, process, count, log):
    """Waits until the side has taken its first pictures."""
    deadline = time.monotonic() + START_LIMIT_S
    while counted(count) < WARM_FRAMES:
        if process.poll() is not None or time.monotonic() > deadline:
            got = f"{counted(count)} of {WARM_FRAMES} pictures in {START_LIMIT_S:.0f} s"
            raise SystemExit(f"bench: {side} has not started ({got}): see {log}")
        time.sleep(0.02)


def end(side, process):
    """Ends a side, kindly first."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise SystemExit(f"bench: {side} had to be killed: it does not end on SIGTERM") from None


def counted(path):
    """Pictures that the consumer has taken; 0 before it has started."""
    try:
        return int.from_bytes(path.read_bytes(), "little")
    except FileNotFoundError:
        return 0


def rate(turns):
    """Frames per CPU second."""
    return sum(turn.frames for turn in turns) / sum(turn.cpu_s for turn in turns)


def show(turns):
    """Prints the turns, who spent the time, and the ratio; keeps all of it."""
    rows = []
    for at, turn in enumerate(turns):
        rows.append(
            [
                f"{at // 2 + 1} {turn.side}",
                turn.frames,
                f"{turn.frames / turn.seconds:.1f}",
                f"{turn.cpu_s:.2f}",
                f"{1000 * turn.cpu_s / turn.frames:.2f}",
                f"{turn.frames / turn.cpu_s:.1f}",
            ]
        )
    report.table(["turn", "frames", "frames/s", "CPU s", "CPU ms/frame", "frames/CPU s"], rows)
    ours, theirs = turns[0::2], turns[1::2]
    frames = sum(turn.frames for turn in ours)
    names = {name for turn in ours for name in turn.cpu_by_process}
    shares = {
        name: 1000 * sum(turn.cpu_by_process.get(name, 0.0) for turn in ours) / frames
        for name in names
    }
    shares = dict(sorted(shares.items(), key=lambda item: -item[1]))
    told = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    print(f"Parapet's CPU ms a frame: {told}")
    slow = [turn for turn in turns if turn.frames < LEAST_SHARE * FPS * turn.seconds]
    if slow:
        # A side that drops pictures late has paid for more than it is credited with.
        print(
            f"{len(slow)} of {len(turns)} turns lost pictures: the machine is too busy to compare"
        )
    ratio = rate(ours) / rate(theirs)
    pairs = [rate([a]) / rate([b]) for a, b in zip(ours, theirs, strict=True)]
    each = ", ".join(f"{pair:.2f}" for pair in pairs)
    print(f"ratio {ratio:.2f} (pairs {each}; aim at least {AIM:g})")
    report.keep(
        "frames",
        {
            "stream": {"size": SIZE, "fps": FPS},
            "turns": [
                {
                    "side": turn.side,
                    "frames": turn.frames,
                    "seconds": round(turn.seconds, 3),
                    "cpu_s": {name: round(cpu, 2) for name, cpu in turn.cpu_by_process.items()},
                }
                for turn in turns
            ],
            "frames_per_cpu_s": {"parapet": round(rate(ours), 2), "opencv": round(rate(theirs), 2)},
            "turns_with_loss": len(slow),
            "ratio": round(ratio, 3),
            "ratio_pairs": [round(pair, 3) for pair in pairs],
            "aim": AIM,
        },
    )


if __name__ == "__main__":
    main()
