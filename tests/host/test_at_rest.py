"""An appliance's keys at rest, with the real command: a TPM in software, the units' hand-over to an
agent that is an ordinary user, a directory that is encrypted and locked."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_split import AGENT, LIMIT_S, PARAPET, needs_root, split, wait_for

from control_plane import ROOT

SWTPM = "/usr/bin/swtpm"
UNIT = (ROOT / "packaging/systemd/parapet-keys.service").read_text(encoding="utf-8")

needs_tpm = pytest.mark.skipif(
    not (Path(SWTPM).exists() and Path("/usr/bin/tpm2_create").exists()),
    reason="skipped: no swtpm or tpm2-tools: tools/setup --tests installs them",
)
__all__ = ["split"]


class Tpm:
    """Off and on again as the test wants; its state stays."""

    def __init__(self, directory):
        self.directory = directory
        self.path = directory / "tpm"
        self.process = None
        directory.mkdir(mode=0o700)
        self.on()

    def on(self):
        """Powered."""
        self.process = subprocess.Popen(
            [SWTPM, "socket", "--tpm2", "--tpmstate", f"dir={self.directory}"]
            + ["--server", f"type=unixio,path={self.path}"]
            + ["--ctrl", f"type=unixio,path={self.path}.ctrl"]
            + ["--flags", "not-need-init,startup-clear"],
            stdin=subprocess.DEVNULL,
        )
        wait_for("the TPM", lambda: self.path.exists() and Path(f"{self.path}.ctrl").exists())

    def off(self):
        """Without power."""
        self.process.kill()
        self.process.wait(LIMIT_S)
        for left in (self.path, Path(f"{self.path}.ctrl")):
            left.unlink(missing_ok=True)

    def clear(self):
        """As the firmware's menu does."""
        done = subprocess.run(
            ["tpm2_clear", "-T", f"swtpm:path={self.path}", "-c", "p"],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def tpm(split):
    """Of the appliance under test, which is told of it."""
    made = Tpm(split.directory / "machine")
    split.config.write_text(f"[keys]\ntpm_device = '{made.path}'\n", encoding="utf-8")
    yield made
    made.off()


def parapet(*words, before=()):
    """Code, and all that was said."""
    command = [*before, str(PARAPET), *words]
    # A session of its own: nobody's terminal is asked.
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_S, start_new_session=True
    )
    return done.returncode, done.stdout + done.stderr


def unlock(split, *more):
    """What parapet-keys.service does, with its capabilities and no more."""
    capabilities = re.search(r"^CapabilityBoundingSet=(.*)$", UNIT, re.MULTILINE)[1]
    bounding = ",".join("+" + name.removeprefix("CAP_").lower() for name in capabilities.split())
    return parapet(
        *["agent", "--unlock-data", "--data", str(split.data)],
        *["--config", str(split.config), *more],
        before=["setpriv", f"--bounding-set=-all,{bounding}", "--no-new-privs", "--"],
    )


def hand_to_agent(split, handed):
    """What LoadCredential= does: the agent's own copy."""
    credential = split.directory / "credential"
    credential.unlink(missing_ok=True)
    shutil.copy(handed, credential)
    os.chown(credential, AGENT, AGENT)
    credential.chmod(0o400)
    return credential


def agent(split, *more):
    """As root, with a launcher of its own."""
    command = ["unshare", "--net", str(PARAPET), "agent", "--data", str(split.data)]
    command += ["--config", str(split.config), "--desired", str(split.document), *more]
    return split.start("agent", command)


def end(process):
    """In order."""
    process.terminate()
    assert process.wait(LIMIT_S) == 0


def finding(split, check):
    """The doctor's."""
    done = subprocess.run(
        [str(PARAPET), "doctor", "--json", "--data", str(split.data)]
        + ["--config", str(split.config)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S * 2,
    )
    findings = json.loads(done.stdout)["findings"]
    return next(found for found in findings if found["id"] == check)


@needs_root
@needs_tpm
def test_an_agents_keys_go_over_to_the_tpm_and_a_cleared_one_is_an_error(split, tpm):
    """Said in status.json, by the doctor, and never with a key made anew."""
    tpm.off()
    first = agent(split)
    assert wait_for("status.json", split.status)["keys"] == "file"
    end(first)
    assert "the device key lies in a plain file" in split.log("agent")
    found = finding(split, "data.secrets")
    assert found["level"] == "warning" and "1 key in a plain file" in found["found"], found
    # An appliance of before: its key as it is.
    plain = split.data / "device/key.pem"
    plain.write_text("of before", encoding="utf-8")

    tpm.on()
    (split.data / "status.json").unlink()
    second = agent(split)
    assert wait_for("status.json", split.status)["keys"] == "tpm"
    end(second)
    assert "a private key in a plain file is sealed now" in split.log("agent")
    device = split.data / "device"
    names = {path.name for path in device.iterdir()}
    assert {"secrets.key.tpm", "key.sealed"} <= names, names
    assert not names & {"secrets.key", "key.pem"}, names
    for name in ("secrets.key.tpm", "key.sealed"):
        kept = (device / name).stat()
        assert (kept.st_uid, kept.st_mode & 0o777) == (AGENT, 0o600), name
    found = finding(split, "data.secrets")
    assert found["level"] == "ok" and "TPM" in found["found"], found

    before = (device / "secrets.key.tpm").read_bytes()
    tpm.clear()
    assert agent(split).wait(LIMIT_S) == 1
    assert "it was cleared, or the disk is in another machine" in split.log("agent")
    assert "parapet agent reset" in split.log("agent")
    assert (device / "secrets.key.tpm").read_bytes() == before
    assert not (device / "secrets.key").exists()


@needs_root
@needs_tpm
def test_an_agent_that_is_an_ordinary_user_is_handed_its_key_by_root(split, tpm):
    """The agent cannot reach the TPM; with the key of an emptied appliance it does not start."""
    handed = split.directory / "device-key"
    shutil.rmtree(split.data)
    code, said = unlock(split, "--device-key", str(handed))
    assert code == 0, said
    made = split.data.stat()
    assert (made.st_uid, made.st_mode & 0o777) == (AGENT, 0o700)
    assert handed.stat().st_mode & 0o777 == 0o600 and len(handed.read_text()) == 64
    split.launcher()
    split.open_to(AGENT, 0o600)
    first = split.agent("--device-key", str(hand_to_agent(split, handed)))
    assert wait_for(f"status.json {split.log('agent')}", split.status)["keys"] == "tpm"
    assert (split.data / "lock").stat().st_uid == AGENT
    first.terminate()
    assert first.wait(LIMIT_S) == 0
    # Without the unit it does not go on with another key.
    assert split.agent().wait(LIMIT_S) == 1
    assert "parapet-keys.service" in split.log("agent")
    code, said = parapet("agent", "reset", "--data", str(split.data), "--yes")
    assert code == 0, said
    stale = split.agent("--device-key", str(hand_to_agent(split, handed)))
    assert stale.wait(LIMIT_S) == 1
    assert "it is not this appliance's" in split.log("agent")


@pytest.fixture
def disk(split):
    """The appliance's state on an ext4 of its own, which can encrypt directories."""
    image, mount = split.directory / "image", split.directory / "mount"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    mount.mkdir()
    made = subprocess.run(["mkfs.ext4", "-q", "-O", "encrypt", str(image)], capture_output=True)
    if made.returncode != 0 or mounted(image, mount) != 0:
        pytest.skip(f"skipped: no ext4 or no loop device here: {made.stderr}")
    split.data = mount / "agent"
    split.document = split.directory / "desired.json"
    yield image, mount
    subprocess.run(["umount", str(mount)], check=False)


def mounted(image, mount):
    """Exit code."""
    command = ["mount", "-o", "loop", str(image), str(mount)]
    return subprocess.run(command, capture_output=True).returncode


@needs_root
def test_an_agent_in_an_encrypted_directory_starts_unlocked_and_fails_closed(split, disk):
    """By a passphrase in a file; without it nothing starts and nothing is written."""
    image, mount = disk
    passphrase = split.directory / "passphrase"
    passphrase.write_text("correct horse battery staple\n", encoding="utf-8")
    passphrase.chmod(0o600)
    keys = ["--passphrase-file", str(passphrase)]
    data = ["--data", str(split.data), "--config", str(split.config)]
    split.config.write_text("[keys]\ntpm = 'never'\n", encoding="utf-8")
    first = agent(split)
    wait_for(f"status.json {split.log('agent')}", split.status)
    code, said = parapet("agent", "--encrypt-data", *data, *keys)
    assert code == 1 and "an agent or a reset works there" in said, said
    end(first)
    key = (split.data / "device/secrets.key").read_bytes()
    code, said = parapet("agent", "--encrypt-data", *data, *keys)
    assert code == 0 and "overwritten and deleted" in said, said
    assert (split.data / "device/secrets.key").read_bytes() == key
    os.sync()
    assert key not in image.read_bytes()

    subprocess.run(["umount", str(mount)], check=True)
    assert mounted(image, mount) == 0
    assert agent(split).wait(LIMIT_S) == 1
    assert "--unlock-data" in split.log("agent")
    assert not (split.data / "device").exists()
    found = finding(split, "data.secrets")
    assert found["level"] == "unknown" and "--unlock-data" in found["found"], found
    handed = split.directory / "device-key"
    code, said = unlock(split, "--device-key", str(handed))
    assert code == 1 and "there is no terminal" in said and not handed.exists(), said
    code, said = unlock(split, "--device-key", str(handed), *keys)
    assert code == 0 and "is unlocked" in said, said
    assert handed.read_text(encoding="utf-8") == "file"
    (split.data / "status.json").unlink()
    second = agent(split)
    status = wait_for("status.json", split.status)
    assert status["keys"] == "file" and status["encrypted"]
    end(second)
    assert finding(split, "data.encryption")["level"] == "ok"
    found = finding(split, "data.secrets")
    assert found["level"] == "ok" and "on encrypted storage" in found["found"], found


@needs_root
def test_where_directories_cannot_be_encrypted_the_error_says_what_to_do(split):
    """Memory cannot, nor can most root file systems as they are made."""
    place = split.directory / "memory"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=True)
    try:
        data = str(place / "agent")
        code, said = parapet("agent", "--encrypt-data", "--data", data)
        assert code == 1 and "tune2fs -O encrypt DEVICE" in said, said
        assert "systemd-cryptenroll" in said, said
    finally:
        subprocess.run(["umount", str(place)], check=True)
