"""A control plane as an operator starts it: `parapet server`, with a data directory of its own."""

import contextlib
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
START_LIMIT_S = 60.0


@dataclass(frozen=True)
class Server:
    """A running control plane."""

    process: subprocess.Popen
    data: Path
    log: Path
    api: tuple[str, int]
    device: tuple[str, int]

    @property
    def admin(self):
        """`DATA/admin`: credentials, config, CA."""
        return self.data / "admin"

    @property
    def ca(self):
        """The file with the authority that signed the certificate of the API."""
        return self.admin / "ca.pem"

    @property
    def url(self):
        """Of the API and the console."""
        return f"https://{self.api[0]}:{self.api[1]}"

    def environment(self):
        """What the AWS tools need to find this server; nothing of the caller's own account."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
        return {
            **kept,
            "AWS_SHARED_CREDENTIALS_FILE": str(self.admin / "credentials"),
            "AWS_CONFIG_FILE": str(self.admin / "config"),
            "AWS_CA_BUNDLE": str(self.ca),
            "AWS_ENDPOINT_URL": self.url,
        }


def start_server(directory, config="", host="127.0.0.1", inside=contextlib.nullcontext):
    """Starts one in an empty directory, with these lines of TOML, at an address of this host or of
    the network namespace that `inside` enters; whoever starts it stops it."""
    executable = TARGET / "debug" / "parapet"
    if not executable.exists():
        pytest.fail(f"{executable} is not there: run make build")
    (directory / "parapet.toml").write_text(config, encoding="utf-8")
    data, log = directory / "data", directory / "server.log"
    free, loopback = f"{host}:0", "127.0.0.1:0"
    with log.open("wb") as output, inside():
        process = subprocess.Popen(
            [executable, "server", "--data", data, "--config", directory / "parapet.toml"]
            + ["--listen", free, "--device-listen", free, "--admin-listen", loopback],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env={
                **os.environ,
                "PARAPET_MASTER_KEY_FILE": str(directory / "master.key"),
                "PARAPET_LOG": "info",
            },
        )
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        text = log.read_text(encoding="utf-8", errors="replace")
        found = dict(re.findall(r'"(api|device)_addr":"([0-9.]+:\d+)"', text))
        if len(found) == 2:
            places = {name: _place(text) for name, text in found.items()}
            return Server(process, data, log, places["api"], places["device"])
        if process.poll() is not None:
            break
        time.sleep(0.05)
    stop_process(process)
    pytest.fail(f"the server did not start:\n{log.read_text(errors='replace')}")


def stop_process(process):
    """Asks it to end, and sees that it does."""
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _place(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)
