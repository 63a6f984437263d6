"""An appliance of the town: `parapet agent` as root in its own network namespace.

It runs a desired document from a file, and has users, state and a camera zone of its own.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path

from streets import run

from control_plane import TARGET

START_LIMIT_S = 60.0
# What IDs of application instances begin with.
IDENTITY = "applicationInstance-"
# Users of the towns' appliances: below those of an appliance of the host (0x50000000) and of
# demos. Each appliance has 2^24; a town has four; the process chooses among 11 places.
FIRST_ID, IDS, PLACES, APPLIANCES = 0x2100_0000, 0x0100_0000, 11, 4


# The camera that everybody watches, and the application that does.
GATE, PASSWORD = "rtsp://10.77.1.11:554/gate", "town-3f90a1c2"
WATCHER = """
import panoramasdk


class Application(panoramasdk.node):
    pass


application = Application()
while True:
    application.inputs.video_in.get()
"""


def two_ports(last):
    """The configuration of an appliance with a port for the cameras, by its addresses' end."""
    return (
        '[network]\nuplink = ["eth0"]\ncameras = ["eth1"]\n'
        f'camera_addresses = ["10.77.1.{last}/24", "fd77:1::{last}/64"]'
    )


def camera(name, url, secret=None):
    """A camera node, whose stream is called like it."""
    reference = {"id": secret, "version": 1} if secret else None
    return {"node": name, "stream": name, "url": url, "secret": reference, "paused": False}


def instance(name, cameras=(), applications=()):
    """An application instance."""
    return {
        "id": IDENTITY + name,
        "name": name,
        "cameras": list(cameras),
        "models": [],
        "applications": list(applications),
        "displays": [],
    }


def id_bases(run_id):
    """First users of a run's appliances: towns of several runs stand beside each other."""
    place = APPLIANCES * (run_id % PLACES)
    return [FIRST_ID + IDS * (place + index) for index in range(APPLIANCES)]


def remove_zone(id_base):
    """What a killed run has left of a camera zone, whose ports are gone with their town."""
    kept = Path(f"/run/parapet/{id_base:08x}")
    run("umount", "--lazy", kept / "cameras", check=False)
    shutil.rmtree(kept, ignore_errors=True)


class Appliance:
    """One of the town."""

    def __init__(self, streets, name, place, index):
        self.streets, self.name = streets, name
        self.data = place / name
        self.origin = self.data / "origin"
        self.log = place / f"{name}.log"
        self.config = place / f"{name}.toml"
        self.id_base = id_bases(os.getpid())[index]
        self.generation = 0
        self.secrets = {}
        # Of a control plane, where there is one; else a file says what runs.
        self.archive = None
        self.process = None
        (self.origin / "blobs").mkdir(parents=True)
        # The agent's user has to pass through.
        for above in (place, self.data):
            above.chmod(0o755)

    @property
    def zone(self):
        """The camera zone's namespace."""
        return Path(f"/run/parapet/{self.id_base:08x}/cameras")

    @property
    def table(self):
        """Of nftables, here and in the zone."""
        return f"parapet_{self.id_base:08x}"

    def configure(self, network):
        """Writes the configuration file."""
        text = f"[process]\nid_base = {self.id_base}\n[limits]\nring_mb = 800\n{network}\n"
        self.config.write_text(text, encoding="utf-8")

    def asset(self, files):
        """An application's `tar.gz` of texts below `panorama/`, as the document names it."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, text in files.items():
                entry = tarfile.TarInfo(f"panorama/{name}")
                entry.size, entry.mode = len(text.encode()), 0o644
                tar.addfile(entry, io.BytesIO(text.encode()))
        # The same files are the same asset: a new one would start the application anew.
        content = gzip.compress(packed.getvalue(), mtime=0)
        digest = hashlib.sha256(content).hexdigest()
        (self.origin / "blobs" / digest).write_bytes(content)
        return {"sha256": digest, "bytes": len(content)}

    def application(self, files, cameras=(), **confinement):
        """A code node that runs `main.py`."""
        node = {
            "node": "code",
            "asset": self.asset(files),
            "command": ["python3", "/panorama/main.py"],
            "environment": [],
            "inputs": [],
            "outputs": [],
        }
        if cameras:
            source = {"type": "media", "cameras": list(cameras)}
            node["inputs"] = [{"name": "video_in", "source": source}]
        if confinement:
            node["confinement"] = confinement
        return node

    def secret(self, identity, username, password):
        """Credentials of a camera."""
        self.secrets[identity] = {"version": 1, "username": username, "password": password}

    def enrol(self, archive):
        """From the next start on it belongs to the control plane that made this archive."""
        self.archive = self.data / "archive.zip"
        self.archive.write_bytes(archive)
        os.chown(self.archive, self.id_base, self.id_base)

    def desire(self, instances):
        """The next document: what the appliance shall run from now on."""
        self.generation += 1
        document = {
            "version": 1,
            "device": "device-town",
            "generation": self.generation,
            "instances": instances,
        }
        desired = self.origin / "desired.json"
        secrets = self.origin / "desired.json.secrets.json"
        secrets.write_text(json.dumps(self.secrets), encoding="utf-8")
        new = self.origin / "desired.json.new"
        new.write_text(json.dumps(document), encoding="utf-8")
        for path in (new, secrets):
            os.chown(path, self.id_base, self.id_base)
        new.rename(desired)

    def start(self, *through):
        """Starts the agent, by another program if need be, and waits until it says what it has
        found."""
        before = self.status().get("pid")
        source = ["--enroll", self.archive] if self.archive else []
        source = source or ["--desired", self.origin / "desired.json"]
        with self.log.open("ab") as log, self.streets.inside(self.name):
            self.process = subprocess.Popen(
                [
                    *through,
                    TARGET / "debug" / "parapet",
                    "agent",
                    "--data",
                    self.data,
                    "--config",
                    self.config,
                    *source,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PARAPET_LOG": "info"},
            )
        wait_for(
            f"status.json of appliance {self.name}",
            lambda: self.status().get("pid") not in (None, before),
            START_LIMIT_S,
            self.process,
            self.log,
        )

    def status(self):
        """`status.json`; empty while there is none."""
        try:
            return json.loads((self.data / "status.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    @property
    def network(self):
        """What the agent reports of its networks."""
        return self.status()["reported"]["network"]

    def node(self, owner, name):
        """What the agent reports of a node of an instance; empty while it says nothing."""
        for one in self.status().get("reported", {}).get("instances", []):
            for node in one["nodes"]:
                if one["id"] == IDENTITY + owner and node["node"] == name:
                    return node
        return {}

    def frames(self, owner, name):
        """Frames that an application has received of a camera."""
        return ((self.node(owner, name).get("stream")) or {}).get("frames", 0)

    def wait(self, what, condition, limit=START_LIMIT_S):
        """Waits for something of this appliance; its log is in the failure."""
        return wait_for(
            f"{what} of appliance {self.name}", condition, limit, self.process, self.log
        )

    def events(self, owner, node="code"):
        """What an application has written to its events."""
        file = self.data / "instances" / (IDENTITY + owner) / "logs" / node / "events.jsonl"
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def processes(self):
        """Process IDs of the agent and everything below it."""
        children = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                except (OSError, IndexError):
                    continue
                children.setdefault(parent, []).append(int(entry.name))
        found, left = [], [self.process.pid]
        while left:
            pid = left.pop()
            found.append(pid)
            left += children.get(pid, [])
        return found

    def named(self, name):
        """Those of them whose executable has this name, cut as the kernel does."""
        pids = []
        for pid in self.processes():
            try:
                if Path(f"/proc/{pid}/comm").read_text().strip() == name[:15]:
                    pids.append(pid)
            except OSError:
                continue
        return pids

    def kill(self):
        """Ends agent and launcher as a fault does, at once and without a word."""
        for pid in [*self.named("parapet-launcher"), self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def stop(self):
        """Ends it in peace."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def remove_zones(self):
        """As an uninstallation does: the camera port comes back, down."""
        launcher = TARGET / "debug" / "parapet-launcher"
        with self.streets.inside(self.name):
            run(launcher, "--remove-zones", "--id-base", self.id_base)

    def remove(self):
        """All that it leaves, whatever state it is in."""
        self.stop()
        remove_zone(self.id_base)
        shutil.rmtree(self.data, ignore_errors=True)

    def counters(self, where=None):
        """Packets counted by each rule with a counter, by chain: of the zone or the host."""
        inside = where or self.streets.path(self.name)
        text = run("nsenter", f"--net={inside}", "nft", "-j", "list", "table", "inet", self.table)
        counted = {}
        for item in json.loads(text)["nftables"]:
            rule = item.get("rule")
            for part in (rule or {}).get("expr", []):
                if isinstance(part, dict) and "counter" in part:
                    packets = part["counter"]["packets"]
                    counted[rule["chain"]] = counted.get(rule["chain"], 0) + packets
        return counted


def wait_for(what, condition, limit, process=None, log=None):
    """Waits until the condition gives something true, which it returns."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if found := condition():
            return found
        if process is not None and process.poll() is not None:
            break
        time.sleep(0.05)
    ended = f" (ended with {process.poll()})" if process and process.poll() is not None else ""
    said = f"\n{log.read_text(errors='replace')[-6000:]}" if log else ""
    raise AssertionError(f"waited {limit:.0f} s for {what}{ended}{said}")
