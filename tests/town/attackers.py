"""The attacker's script in every place: in an application, in that of a worker, on a bare host."""

import contextlib
import json
import os
import subprocess
from pathlib import Path

from control_plane import TARGET

ATTACK = Path(__file__).with_name("attack.py").read_text(encoding="utf-8")
# What succeeds inside and gives nothing: a process's own affairs, within its own walls. The reason
# stands beside each.
HARMLESS = {
    "a socket of AF_NETLINK audit": "a socket to ask with; without a capability nothing is told",
}
# What a worker has of itself alone: process 1 of its namespace is the worker, and an ingest's
# camera is its own.
OWN = {
    "codec": {"read /proc/1/environ"},
    "ingest": {"read /proc/1/environ", "tcp to the gate"},
    "infer": {"read /proc/1/environ"},
}


def on_bare_host(town, place, targets):
    """Which attempts a bare host lets through, by name: from the naive host, as root, with process
    and mount namespaces of its own around it, so that it harms nothing."""
    (place / "attack.py").write_text(ATTACK, encoding="utf-8")
    (place / "targets.json").write_text(json.dumps(targets), encoding="utf-8")
    with town.streets.inside("naive"):
        done = subprocess.run(
            [
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--mount-proc",
                "--uts",
                "--ipc",
                "sh",
                "-c",
                '/usr/bin/python3 "$0" --on-host; exit 0',
                place / "attack.py",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert lines and lines[-1]["type"] == "end", done.stderr[-2000:]
    return {line["name"]: line for line in lines if line["type"] == "attempt"}


@contextlib.contextmanager
def in_place_of(town, one, worker, targets, paths=""):
    """A stopped appliance whose workers of a kind are the attacker, once it is started in the
    block; its configuration is as before afterwards."""
    libexec = town.directory / f"libexec-{one.name}-{worker}"
    libexec.mkdir(mode=0o755)
    for name in ("parapet-launcher", "parapet-ingest", "parapet-codec", "parapet-infer"):
        os.link(TARGET / "debug" / name, libexec / name)
    program = libexec / f"parapet-{worker}"
    program.unlink()
    targets = json.dumps(targets)
    version = town.b.status()["reported"]["software"]
    text = ATTACK.replace(
        'TARGETS, SUMMARY, HELLO = None, False, ""',
        f"TARGETS, SUMMARY, HELLO = json.loads({targets!r}), True, {version!r}",
    )
    program.write_text("#!/usr/bin/python3\n" + text, encoding="utf-8")
    program.chmod(0o755)
    config = one.config.read_text(encoding="utf-8")
    changed = f'{config}\n[paths]\nlibexec = "{libexec}"\n{paths}'
    one.config.write_text(changed, encoding="utf-8")
    try:
        yield
    finally:
        one.config.write_text(config, encoding="utf-8")


def summary(log, begin):
    """What an attacker in a worker's place has written last, out of the agent's log."""
    with log.open("rb") as file:
        file.seek(begin)
        for line in file.read().decode(errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                message = json.loads(line)["fields"]["message"]
                if message.startswith('{"type": "end"'):
                    return json.loads(message)
    return None
