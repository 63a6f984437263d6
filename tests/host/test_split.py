"""Launcher and agent as two services, as the units start them: socket activation, the capabilities
of the unit and no more, an agent that is an ordinary user from its first moment."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from control_plane import ROOT, TARGET

PARAPET = TARGET / "debug" / "parapet"
AGENT = 0x5000_0000
LIMIT_S = 60.0
UNIT = (ROOT / "packaging/systemd/parapet-launcher.service").read_text(encoding="utf-8")

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="skipped: not root: only root has users to give away"
)


def wait_for(what, check):
    """Until the check gives something."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    return pytest.fail(f"{what}: not within {LIMIT_S} s")


class Split:
    """Both services of one appliance, in a network of their own."""

    def __init__(self, directory):
        self.directory = directory
        self.data = directory / "data"
        self.path = directory / "launcher.sock"
        self.config = directory / "agent.toml"
        self.config.write_text("", encoding="utf-8")
        self.processes = []
        # What StateDirectory= does.
        self.data.mkdir(mode=0o700)
        os.chown(self.data, AGENT, AGENT)
        self.document = self.data / "desired.json"

    def launcher(self):
        """What parapet-launcher.socket and .service do."""
        capabilities = re.search(r"^CapabilityBoundingSet=(.*)$", UNIT, re.MULTILINE)[1]
        bounding = ",".join(
            "+" + name.removeprefix("CAP_").lower() for name in capabilities.split()
        )
        assert "NoNewPrivileges=yes" in UNIT
        return self.start(
            "launcher",
            ["unshare", "--net", "systemd-socket-activate", "--seqpacket"]
            + ["--listen", str(self.path)]
            + ["setpriv", f"--bounding-set=-all,{bounding}", "--no-new-privs", "--"]
            + [str(PARAPET), "launcher", "--data", str(self.data)]
            + ["--config", str(self.config)],
        )

    def agent(self, *more, user=AGENT):
        """What parapet-agent.service does."""
        return self.start(
            "agent",
            ["unshare", "--net"]
            + ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
            + ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]
            + [str(PARAPET), "agent", "--data", str(self.data), "--config", str(self.config)]
            + ["--launcher", str(self.path), "--desired", str(self.document), *more],
        )

    def start(self, name, command):
        """With its output in a file."""
        with open(self.directory / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/"
            )
        self.processes.append(process)
        return process

    def log(self, name):
        """What it said."""
        return (self.directory / f"{name}.log").read_text(encoding="utf-8")

    def open_to(self, user, mode):
        """The socket's owner and mode, once it is there."""
        wait_for("the socket", self.path.exists)
        os.chown(self.path, user, user)
        self.path.chmod(mode)

    def status(self):
        """What the agent wrote."""
        with contextlib.suppress(FileNotFoundError):
            return json.loads((self.data / "status.json").read_text(encoding="utf-8"))
        return None


@pytest.fixture
def split():
    """Below /tmp: the directories of a test may be closed to the agent's user."""
    directory = Path(tempfile.mkdtemp(prefix="parapet-split-", dir="/tmp"))
    directory.chmod(0o755)
    started = Split(directory)
    yield started
    for process in started.processes:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.wait(LIMIT_S)
    shutil.rmtree(directory)


def call_as(user, path):
    """What a caller of another user gets: '' for the end of the connection."""
    program = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "s.settimeout(30)\n"
        "s.connect(sys.argv[1])\n"
        "print(repr(s.recv(65536)))\n"
    )
    done = subprocess.run(
        ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        + ["/usr/bin/python3", "-c", program, str(path)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@needs_root
def test_the_agent_is_an_ordinary_user_and_has_users_of_its_own_all_the_same(split):
    """With the capabilities of the unit, sandboxes are whole; with the agent the launcher ends."""
    launcher = split.launcher()
    split.open_to(AGENT, 0o600)
    agent = split.agent()
    status = wait_for(f"status.json ({split.log('agent')})", split.status)
    assert status["privileged"], status["missing"]
    assert not [s for s in status["missing"] if s.startswith("sandboxes")], status["missing"]
    own = Path(f"/proc/{status['pid']}/status").read_text(encoding="utf-8")
    assert f"Uid:\t{AGENT}\t{AGENT}\t{AGENT}\t{AGENT}" in own
    assert "CapPrm:\t0000000000000000" in own and "CapBnd:\t0000000000000000" in own
    assert "NoNewPrivs:\t1" in own
    agent.kill()
    agent.wait(LIMIT_S)
    wait_for("the launcher's end with the agent", lambda: launcher.poll() is not None)


@needs_root
def test_a_caller_of_another_user_is_put_out_and_the_agent_still_served(split):
    """By the socket's mode, and where that is wrong by the launcher."""
    split.launcher()
    split.open_to(AGENT, 0o600)
    assert "PermissionError" in call_as(65534, split.path)
    split.open_to(AGENT, 0o666)
    assert call_as(65534, split.path) == "b''"
    assert f"user 65534 is put out: the agent is user {AGENT}" in split.log("launcher")
    split.agent()
    assert wait_for("status.json", split.status)["privileged"]


@needs_root
def test_an_agent_of_another_user_and_a_strangers_launcher_are_refused(split):
    """Before anything is said over the channel."""
    assert split.agent(user=65534).wait(LIMIT_S) == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        pid = os.fork()
        if pid == 0:
            # A listener of a third user: its identity is taken by the kernel at `listen`.
            os.chmod(split.directory, 0o777)
            os.setresuid(65534, 65534, 65534)
            stranger.bind(str(split.path))
            stranger.listen()
            os.chmod(split.path, 0o666)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert split.agent().wait(LIMIT_S) == 1
    assert "user 65534 listens there" in split.log("agent")


@needs_root
def test_a_second_agent_in_the_same_directory_is_refused(split):
    """It would start what the first one runs."""
    split.launcher()
    split.open_to(AGENT, 0o600)
    split.agent()
    wait_for("status.json", split.status)
    assert split.agent().wait(LIMIT_S) == 1
    assert "an agent or a reset works there" in split.log("agent")


@needs_root
def test_an_appliance_is_emptied_after_its_end_and_not_before(split):
    """As the operator does it: told first, refused while it runs, done with --yes."""

    def reset(*more):
        done = subprocess.run(
            [str(PARAPET), "agent", "reset", "--data", str(split.data), *more],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        return done.returncode, done.stdout + done.stderr

    split.launcher()
    split.open_to(AGENT, 0o600)
    agent = split.agent()
    wait_for("the agent's key", (split.data / "device/secrets.key").exists)
    code, said = reset("--yes")
    assert code == 1 and "an agent or a reset works there" in said, said
    agent.terminate()
    assert agent.wait(LIMIT_S) == 0, split.log("agent")
    code, said = reset()
    assert code == 1 and "--yes" in said, said
    assert (split.data / "device/secrets.key").exists()
    code, said = reset("--yes")
    assert code == 0 and said.startswith("keys: 1 "), said
    assert [path.name for path in split.data.iterdir()] == ["lock"]


@needs_root
def test_an_agent_that_gives_root_up_still_ends_with_who_started_it(split):
    """The kernel forgets a parent-death signal with the change of users."""
    command = ["setpriv", "--pdeathsig", "TERM", "--", str(PARAPET), "agent"]
    command += ["--data", str(split.data), "--config", str(split.config)]
    command += ["--desired", str(split.document)]
    program = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
    parent = split.start(
        "parent", ["unshare", "--net", "/usr/bin/python3", "-c", program, *command]
    )
    agent = wait_for("status.json", split.status)["pid"]
    assert Path(f"/proc/{agent}").stat().st_uid in (0, AGENT)
    parent.kill()
    parent.wait(LIMIT_S)

    def ended():
        with contextlib.suppress(FileNotFoundError):
            status = Path(f"/proc/{agent}/status").read_text(encoding="utf-8")
            return "State:\tZ" in status
        return True

    wait_for("the agent's end with its parent", ended)
