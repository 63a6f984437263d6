"""Parapet as services of a systemd that is process 1: this host's own /usr is booted with nothing
else of it (`systemd-nspawn --volatile`), Parapet is installed and both halves are set up as
docs/hardening.md says (booted.py). What nspawn keeps from its machine is said where it matters:
control groups of version 1 are read-only there."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from control_plane import ROOT, TARGET

LIMIT_S = 150
# Its own filter knows no younger calls than its systemd.
CALLS = (
    "@keyring @mount @privileged @raw-io bpf "
    "landlock_create_ruleset landlock_add_rule landlock_restrict_self"
)
UNIT = """[Unit]
After=basic.target
[Service]
Type=exec
ExecStart=/usr/bin/python3 {script} {root} {target} /out
StandardOutput=file:/out/said
StandardError=file:/out/said
"""
NETWORK = [
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-networkd-wait-online.service",
    "nftables.service",
]


def ip(*words, check=True):
    """Of this host."""
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


class Cameras:
    """A camera in a network of its own, on the machine's camera port."""

    def __init__(self, out):
        self.name, self.port = f"parapet-boot-{os.getpid()}", f"pboot{os.getpid() % 100000}"
        self.out = out
        self.process = None

    def start(self):
        """As soon as the machine's port is there; the machine is told where it is."""
        ip("netns", "add", self.name)
        pem = self.out / "camera.pem"
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, TARGET / "debug" / "parapet-virtual-camera"]
            + ["--listen", "0.0.0.0:322", "--name", "gate", "--user", "viewer"]
            + ["--size", "320x180", "--seconds", "2", "--tls", pem],
            env={**os.environ, "PARAPET_CAMERA_PASSWORD": "boot-71c0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        (self.out / "camera").write_text("rtsps://10.77.1.9/gate", encoding="utf-8")

    def plug_in(self):
        """The other end of the machine's camera port comes to the camera."""
        if ip("link", "show", self.port, check=False).returncode:
            return False
        ip("link", "set", self.port, "netns", self.name)
        ip("-n", self.name, "address", "add", "10.77.1.9/24", "dev", self.port)
        ip("-n", self.name, "link", "set", self.port, "up")
        return True

    def stop(self):
        """Whatever has come of it."""
        if self.process:
            self.process.kill()
            self.process.wait()
        ip("netns", "delete", self.name, check=False)


@pytest.fixture(scope="module")
def booted():
    """What booted.py has found."""
    if os.geteuid() != 0 or not shutil.which("systemd-nspawn"):
        pytest.skip("skipped: needs root and systemd-nspawn")
    out = Path(tempfile.mkdtemp(prefix="parapet-boot-", dir="/tmp"))
    script = ROOT / "tests" / "host" / "booted.py"
    unit = out / "booted.service"
    unit.write_text(UNIT.format(script=script, root=ROOT, target=TARGET), encoding="utf-8")
    cameras = Cameras(out)
    # Debian's NumPy finds its libraries by the links in there.
    binds = {str(ROOT), str(TARGET), "/etc/alternatives"}
    command = ["systemd-nspawn", "-D", "/", "--volatile=yes", "-M", cameras.name]
    command += ["--register=no", "--keep-unit", "--capability=all", "--quiet"]
    command += ["--private-network", f"--network-veth-extra={cameras.port}:cam0"]
    command += [f"--bind-ro={path}" for path in sorted(binds)]
    command += [f"--bind={out}:/out", f"--bind-ro={unit}:/run/systemd/system/booted.service"]
    command += [f"--system-call-filter={CALLS}", "-b", "systemd.firstboot=no"]
    command += ["systemd.wants=booted.service", *(f"systemd.mask={name}" for name in NETWORK)]
    try:
        cameras.start()
        with open(out / "console", "wb") as console:
            machine = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"},
            )
            plugged = False
            for _ in range(LIMIT_S * 10):
                plugged = plugged or cameras.plug_in()
                try:
                    machine.wait(0.1)
                    break
                except subprocess.TimeoutExpired:
                    continue
            else:
                machine.kill()
        console = (out / "console").read_text(encoding="utf-8", errors="replace")
        assert (out / "found.json").exists(), console[-4000:]
        found = json.loads((out / "found.json").read_text(encoding="utf-8"))
        assert found["ok"], f"{found['error']}\n{found['said']}\n{found['journal'][-6000:]}"
        yield found
    finally:
        cameras.stop()
        shutil.rmtree(out, ignore_errors=True)


def test_an_appliance_installed_as_services_is_whole_and_separated(booted):
    """But for limits, which nspawn does not let its machine set here."""
    for status in (booted["enrolled"], booted["running"]):
        assert status["privileged"]
        missing = [text for text in status["missing"] if not text.startswith("limits of")]
        assert not missing
        assert status["reported"]["network"]["separation"] == "separated"
    assert booted["described"]["DeviceConnectionStatus"] == "ONLINE"


def test_an_application_runs_under_the_units_and_gets_frames_of_a_camera_in_tls(booted):
    """Unpacked, confined, fed: everything that the options of the units could forbid."""
    assert booted["frames"]["frames"] >= 25
    assert booted["frames"]["shape"] == [180, 320, 3]
    assert booted["states"] == ["active"] * 5
    assert not booted["failed units"]


def test_each_process_of_the_services_has_the_user_that_is_its_own(booted):
    """Root is the launcher's alone."""
    users = {}
    for user, name in booted["users"]:
        users.setdefault(name.strip(), set()).add(int(user))
    # An application's first process is a copy of the launcher that has become somebody else.
    assert 0 in users["parapet-launche"]
    assert {name for name, of in users.items() if 0 in of} == {"parapet-launche"}
    assert 0x5000_0000 in users["parapet"]
    for worker in ("parapet-ingest", "parapet-codec"):
        [user] = users[worker]
        assert user > 0x5000_0000
    assert users["parapet-ingest"] != users["parapet-codec"]


def test_rules_stay_while_the_agent_is_gone_and_go_with_the_installation(booted):
    """And the camera port comes back."""
    table = "table inet parapet_50000000"
    assert table in booted["rules before"] and table in booted["rules between"]
    assert "parapet" not in booted["rules after"]
    assert "cam0" in booted["ports after"]
    assert booted["left"] == []


def test_the_doctor_finds_no_failure_on_a_booted_appliance(booted):
    """Warnings are about this host; failures would be Parapet's."""
    findings = booted["doctor"]["findings"]
    levels = {finding["id"]: finding["level"] for finding in findings}
    failures = {finding["id"]: finding for finding in findings if finding["level"] == "failure"}
    assert not failures
    for tried in ("zones.level", "reach.cameras", "reach.workers", "reach.agent"):
        assert levels[tried] == "ok", next(f for f in findings if f["id"] == tried)
