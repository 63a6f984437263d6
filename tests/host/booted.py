"""Runs inside the machine that test_boot.py boots, as a service of its systemd: installs Parapet,
sets up both halves as docs/hardening.md says, and writes down what came of it.

    booted.py ROOT TARGET OUT
"""

import base64
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

ROOT, TARGET, OUT = map(Path, sys.argv[1:4])
PREFIX = Path("/opt/parapet")
PARAPET = PREFIX / "bin" / "parapet"
SERVER = Path("/var/lib/parapet-server/data")
AGENT = Path("/var/lib/parapet/agent")
CONFIG = Path("/etc/parapet/agent.toml")
USER = 0x5000_0000
INSTANCE = "applicationInstance-booted"
LIMIT_S = 60.0
# What the application finds, and that it gets frames.
PROGRAM = """
import json, os, panoramasdk
class Application(panoramasdk.node):
    pass
application = Application()
count = 0
while True:
    media = application.inputs.video_in.get()
    count += len(media)
    if count and count % 25 == 0:
        with open("/opt/aws/panorama/storage/frames", "w") as file:
            json.dump({"frames": count, "shape": list(media[0].image.shape)}, file)
"""
found = {}


def run(*command, check=True, **others):
    """Standard output; what went wrong ends the script."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=120, **others
    )
    if check and done.returncode:
        raise SystemExit(f"{command}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def wait_for(what, condition):
    """Until the condition gives something."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise SystemExit(f"waited {LIMIT_S:.0f} s for {what}")


def states(*units):
    """`ActiveState` of units."""
    return [run("systemctl", "show", "-P", "ActiveState", unit).strip() for unit in units]


def status():
    """The agent's status.json."""
    try:
        return json.loads((AGENT / "status.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def whole(file):
    """What an application has written, unless it is writing."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        return None


def aws(*words):
    """The AWS CLI with the server's own configuration."""
    environment = {
        **os.environ,
        "AWS_CONFIG_FILE": str(SERVER / "admin" / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(SERVER / "admin" / "credentials"),
        "HOME": "/root",
    }
    said = run(TARGET / "venv/bin/python", "-m", "awscli", *words, env=environment)
    return json.loads(said)


def asset(directory):
    """The application as the document names it, its content where the agent looks."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("panorama/main.py")
        entry.size, entry.mode = len(PROGRAM.encode()), 0o644
        tar.addfile(entry, io.BytesIO(PROGRAM.encode()))
    content = gzip.compress(packed.getvalue(), mtime=0)
    digest = hashlib.sha256(content).hexdigest()
    (directory / "blobs").mkdir(parents=True)
    (directory / "blobs" / digest).write_bytes(content)
    return {"sha256": digest, "bytes": len(content)}


def document(directory, camera):
    """A camera and an application that watches it."""
    reference = {"id": "secret-gate", "version": 1}
    instance = {
        "id": INSTANCE,
        "name": "booted",
        "cameras": [
            {"node": "gate", "stream": "gate", "url": camera, "secret": reference, "paused": False}
        ],
        "models": [],
        "applications": [
            {
                "node": "code",
                "asset": asset(directory),
                "command": ["python3", "/panorama/main.py"],
                "environment": [],
                "inputs": [{"name": "video_in", "source": {"type": "media", "cameras": ["gate"]}}],
                "outputs": [],
            }
        ],
        "displays": [],
    }
    device = json.loads((OUT / "device.json").read_text(encoding="utf-8"))["DeviceId"]
    desired = {"version": 1, "device": device, "generation": 1, "instances": [instance]}
    secret = {"secret-gate": {"version": 1, "username": "viewer", "password": "boot-71c0"}}
    (directory / "desired.json").write_text(json.dumps(desired), encoding="utf-8")
    (directory / "desired.json.secrets.json").write_text(json.dumps(secret), encoding="utf-8")
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, USER, USER)


def main():
    """Every step of an operator, in order."""
    environment = {**os.environ, "PROFILE": "debug", "CARGO_TARGET_DIR": str(TARGET)}
    run(ROOT / "tools" / "install", PREFIX, env=environment, cwd=ROOT)
    network = 'uplink = ["lo", "host0"]\ncameras = ["cam0"]\ncamera_addresses = ["10.77.1.1/24"]\n'
    CONFIG.write_text(f"[network]\n{network}", encoding="utf-8")

    run("systemctl", "enable", "--now", "parapet-server")
    wait_for("the server's administrator", (SERVER / "admin" / "config").exists)
    device = aws("panorama", "provision-device", "--name", "booted", "--output", "json")
    (OUT / "device.json").write_text(json.dumps(device), encoding="utf-8")
    archive = Path("/root/certificates-omni_booted.zip")
    archive.write_bytes(base64.b64decode(device["Certificates"]))
    first = subprocess.Popen(
        [PARAPET, "agent", "--data", AGENT, "--config", CONFIG, "--enroll", archive],
        stderr=subprocess.DEVNULL,
    )
    wait_for("the enrolment", lambda: status().get("connected"))
    first.terminate()
    first.wait(60)
    before = status().get("pid")

    run(
        *("systemctl", "enable", "--now", "parapet-zones"),
        *("parapet-launcher.socket", "parapet-agent"),
    )
    wait_for("the service", lambda: status().get("pid") != before and status().get("connected"))
    found["enrolled"] = status()
    found["described"] = aws(
        "panorama", "describe-device", "--device-id", device["DeviceId"], "--output", "json"
    )
    # Killed, it comes back, and so does the launcher, which ended with it.
    pid = status()["pid"]
    found["rules before"] = run("nft", "list", "tables")
    os.kill(pid, 9)
    found["rules between"] = run("nft", "list", "tables")
    wait_for("the service again", lambda: status().get("pid") != pid and status().get("connected"))

    # The same units with a document from a file: an application that is unpacked, confined, and
    # gets frames of a camera in the camera zone.
    origin = Path("/var/lib/parapet/origin")
    origin.mkdir()
    document(origin, (OUT / "camera").read_text(encoding="utf-8").strip())
    unit = Path("/etc/systemd/system/parapet-agent.service").read_text(encoding="utf-8")
    [command] = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    extra = Path("/run/systemd/system/parapet-agent.service.d")
    extra.mkdir(parents=True)
    (extra / "document.conf").write_text(
        f"[Service]\nExecStart=\n{command} --desired {origin}/desired.json\n", encoding="utf-8"
    )
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "parapet-agent")
    storage = AGENT / "instances" / INSTANCE / "storage"
    [frames] = wait_for("frames", lambda: list(storage.rglob("frames")))
    found["frames"] = wait_for("a whole line", lambda: whole(frames))
    found["running"] = status()
    found["users"] = sorted(
        {
            tuple(line.split(None, 1))
            for line in run("ps", "-eo", "uid=,comm=").splitlines()
            if "parapet" in line
        }
    )
    found["doctor"] = json.loads(
        run(PARAPET, "doctor", "--data", AGENT, "--config", CONFIG, "--json", check=False)
    )
    units = [
        "zones.service",
        "launcher.socket",
        "launcher.service",
        "agent.service",
        "server.service",
    ]
    found["states"] = states(*[f"parapet-{unit}" for unit in units])

    run(ROOT / "tools" / "install", "--uninstall", PREFIX, env=environment, cwd=ROOT)
    found["rules after"] = run("nft", "list", "tables")
    found["ports after"] = run("ip", "-brief", "link")
    found["left"] = [str(path) for path in PREFIX.rglob("*") if path.is_file()]


if __name__ == "__main__":
    try:
        main()
        found["ok"] = True
    except BaseException as error:
        found["ok"] = False
        found["error"] = repr(error)
    consoles = AGENT.glob("instances/*/logs/**/console*")
    found["said"] = [file.read_text(encoding="utf-8")[-2000:] for file in consoles]
    found["failed units"] = run("systemctl", "--failed", "--plain", "--no-legend", check=False)
    found["journal"] = run("journalctl", "--no-pager", "-o", "cat", "-u", "parapet*", check=False)
    (OUT / "found.json").write_text(json.dumps(found), encoding="utf-8")
    run("systemctl", "poweroff", "--no-block")
