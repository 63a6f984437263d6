"""One application's frames beside another that takes what it can: memory, processes, processor,
disk.

A real appliance as root: one camera, an application that counts its pictures, and one that
misbehaves, each kind of it beside a quiet one. The state directory is a small file system of its
own, so that a full disk is one. Also run by a test, with less time and a wider bound.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import report

HERE = Path(__file__).resolve().parent

SIZE, FPS, LOOP_S = "640x360", 25, 4
TURN_S = 8.0
SETTLE_S = 2.0
START_LIMIT_S = 60.0
END_LIMIT_S = 30.0
DISK_BYTES = 1024 << 20
GOOD, BAD = "applicationInstance-good", "applicationInstance-bad"
KINDS = ["memory", "forks", "busy", "disk"]
LIMITS = {"memory_bytes": 512 << 20, "processes": 128}
AIM = 0.95
# A report is written each second.
LATE_S = 4.0


def main():
    """Measures, prints, keeps."""
    if os.geteuid() != 0:
        raise SystemExit("neighbours: limits belong to root; run as root")
    alone()
    report.RESULTS.mkdir(parents=True, exist_ok=True)
    print(f"neighbours: {SIZE} at {FPS}/s; {report.build()} build, {report.machine()['cpus']} CPUs")
    # A test has less time.
    turn_s = float(sys.argv[1]) if len(sys.argv) > 1 else TURN_S
    turns = measure(report.RESULTS, turn_s)
    rows = [
        [turn["kind"], f"{turn['quiet']:.2f}", f"{turn['beside']:.2f}", f"{turn['ratio']:.3f}"]
        for turn in turns
    ]
    report.table(["neighbour takes", "frames/s quiet", "frames/s beside", "ratio"], rows)
    worst = min(turn["ratio"] for turn in turns)
    print(f"worst {worst:.3f} (aim at least {AIM})")
    report.keep("neighbours", {"turns": turns, "worst": worst, "aim": AIM})


def alone():
    """Goes on in a network of its own: the rules of an appliance are none of this host's."""
    if os.environ.get("PARAPET_BENCH_ALONE"):
        return
    os.environ["PARAPET_BENCH_ALONE"] = "1"
    line = 'ip link set lo up && exec "$@"'
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", line, "sh", sys.executable, *sys.argv])


def measure(results, turn_s):
    """Each kind beside a quiet turn of its own."""
    work = Path(tempfile.mkdtemp(prefix="neighbours-", dir=results))
    turns = []
    with camera(results) as url, disk(work) as data:
        origin = lay_out(data, url)
        desire(origin, 1, "quiet")
        with appliance(data, origin, results / "neighbours.log") as process:
            wait_for(process, data, lambda: counted(data) > FPS, "the first pictures")
            generation = 1
            for kind in KINDS:
                quiet, _ = rate(data, turn_s)
                generation += 1
                desire(origin, generation, kind)
                wait_for(
                    process,
                    data,
                    lambda g=generation: applied(data) == g,
                    f"generation {generation}",
                )
                time.sleep(SETTLE_S)
                beside, told = rate(data, turn_s)
                if kind == "disk" and "storage" not in told:
                    # Not full yet.
                    wait_for(process, data, lambda: is_held(data), "the end of the disk")
                    told.append("storage")
                age = time.time() - (data / "status.json").stat().st_mtime
                if process.poll() is not None or age > LATE_S:
                    raise SystemExit(f"neighbours: the agent has not survived {kind} ({age:.1f} s)")
                turns.append(
                    {
                        "kind": kind,
                        "quiet": quiet,
                        "beside": beside,
                        "ratio": beside / quiet,
                        "said": told,
                        "full": kind == "disk" and free_share(data) < 0.2,
                    }
                )
                generation += 1
                desire(origin, generation, "quiet")
                for file in (data / "instances" / BAD / "storage").glob("[0-9]*"):
                    file.unlink()
                time.sleep(SETTLE_S)
    return turns


@contextmanager
def camera(results):
    """A virtual camera."""
    command = [report.executable("parapet-virtual-camera")]
    command += ["--size", SIZE, "--fps", str(FPS), "--seconds", str(LOOP_S)]
    command += ["--cache", results / "cache"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        line = process.stdout.readline()
        if not line:
            raise SystemExit("neighbours: the virtual camera has not started")
        try:
            yield json.loads(line)["url"]
        finally:
            process.stdin.close()


@contextmanager
def disk(work):
    """A file system of its own."""
    image, place = work / "disk", work / "data"
    with open(image, "wb") as file:
        file.truncate(DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        shutil.rmtree(work)


def lay_out(data, url):
    """The asset, and where documents go."""
    origin = data / "origin"
    (origin / "blobs").mkdir(parents=True)
    archive = origin / "application.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("app.py", "consumer.py", "neighbour.py"):
            tar.add(HERE / "application" / name, f"panorama/{name}")
    content = archive.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    (origin / "blobs" / digest).write_bytes(content)
    (origin / "desired.json.secrets.json").write_text("{}", encoding="utf-8")
    (origin / "asset.json").write_text(
        json.dumps({"url": url, "asset": {"sha256": digest, "bytes": len(content)}}),
        encoding="utf-8",
    )
    return origin


def desire(origin, generation, kind):
    """Both applications; the second one takes `kind`."""
    known = json.loads((origin / "asset.json").read_text(encoding="utf-8"))

    def application(command, inputs, confinement):
        return {
            "node": "code",
            "asset": known["asset"],
            "command": command,
            "environment": [],
            "inputs": inputs,
            "outputs": [],
            "confinement": confinement,
        }

    video = [{"name": "video_in", "source": {"type": "media", "cameras": ["camera"]}}]
    stream = {
        "node": "camera",
        "stream": "camera",
        "url": known["url"],
        "secret": None,
        "paused": False,
    }
    good = application(["python3", "/panorama/app.py"], video, {})
    bad = application(["python3", "/panorama/neighbour.py", kind], [], {"limits": LIMITS})
    instances = [
        {"id": GOOD, "cameras": [stream], "applications": [good]},
        {"id": BAD, "cameras": [], "applications": [bad]},
    ]
    for instance in instances:
        instance.update({"name": instance["id"][-4:].strip("-"), "models": [], "displays": []})
    document = {
        "version": 1,
        "device": "device-bench",
        "generation": generation,
        "instances": instances,
    }
    new = origin / "desired.json.new"
    new.write_text(json.dumps(document), encoding="utf-8")
    new.replace(origin / "desired.json")


@contextmanager
def appliance(data, origin, log):
    """The agent as root."""
    command = [report.executable("parapet"), "agent"]
    command += ["--data", data, "--desired", origin / "desired.json"]
    with open(log, "wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(process, data, holds, what):
    """Until something holds."""
    deadline = time.monotonic() + START_LIMIT_S
    while not holds():
        if process.poll() is not None or time.monotonic() > deadline:
            said = status(data)
            raise SystemExit(f"neighbours: {what} did not come; see neighbours.log; {said}")
        time.sleep(0.02)


def counted(data):
    """Pictures that the good application has taken."""
    try:
        count = (data / "instances" / GOOD / "storage" / "count").read_bytes()
        return int.from_bytes(count, "little")
    except FileNotFoundError:
        return 0


def rate(data, seconds):
    """Its frames per second, and the codes with which the other one was reported meanwhile."""
    said = set()
    first, begun = counted(data), time.monotonic()
    while time.monotonic() < begun + seconds:
        said.add(reason(data))
        time.sleep(0.1)
    return (counted(data) - first) / (time.monotonic() - begun), sorted(said - {None})


def status(data):
    """What the agent says."""
    try:
        return json.loads((data / "status.json").read_text(encoding="utf-8"))["reported"]
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def applied(data):
    """Generation that is taken over: the ledger could be written."""
    return status(data).get("observed_generation")


def reason(data):
    """Code with which the bad application is reported, if any."""
    for instance in status(data).get("instances", []):
        if instance["id"] == BAD:
            for node in instance["nodes"]:
                if node.get("reason"):
                    return node["reason"]["code"]
    return None


def is_held(data):
    """Whether the bad application is kept from filling the disk."""
    return reason(data) == "storage"


def free_share(data):
    """Free part of the file system."""
    stat = os.statvfs(data)
    return stat.f_bavail / stat.f_blocks


if __name__ == "__main__":
    main()
