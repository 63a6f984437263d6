"""What the TLS tests connect to: both listeners, and a server that takes everything."""

import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

# Not the system's file, which may forbid what a test needs to offer.
OPENSSL = {"OPENSSL_CONF": "/dev/null", "PATH": "/usr/bin:/bin"}


@dataclass(frozen=True)
class Lax:
    """A server that takes everything."""

    place: tuple[str, int]
    ca: Path


@pytest.fixture(scope="session")
def openssl():
    """The environment to run OpenSSL in."""
    return OPENSSL


@pytest.fixture(params=["api", "device"])
def place(request, server):
    """Host and port of each listener in turn."""
    return getattr(server, request.param)


@pytest.fixture(scope="session")
def lax(tmp_path_factory):
    """OpenSSL with every protocol and suite it knows, and two kinds of key.

    What a client is refused here it cannot do itself, and its refusal elsewhere proves nothing.
    """
    directory = tmp_path_factory.mktemp("lax")
    pairs = {"rsa": ["-newkey", "rsa:2048"], "ec": ["-newkey", "ec", "-pkeyopt"]}
    pairs["ec"].append("ec_paramgen_curve:prime256v1")
    for name, kind in pairs.items():
        subprocess.run(
            ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=lax", "-days", "2", *kind]
            + ["-keyout", directory / f"{name}.key", "-out", directory / f"{name}.pem"],
            check=True,
            capture_output=True,
        )
    ca = directory / "ca.pem"
    ca.write_text("".join((directory / f"{name}.pem").read_text() for name in pairs))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-www", "-quiet"]
        + ["-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0", "-legacy_renegotiation"]
        + ["-cert", directory / "rsa.pem", "-key", directory / "rsa.key"]
        + ["-dcert", directory / "ec.pem", "-dkey", directory / "ec.key"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=OPENSSL,
    )
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            break
        except OSError:
            assert time.monotonic() < deadline and process.poll() is None, "no s_server"
            time.sleep(0.05)
    yield Lax(("127.0.0.1", port), ca)
    process.terminate()
    process.wait(timeout=20)
