"""A `parapet server` on loopback for a benchmark, its CPU time, and a client that signs."""

import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from configparser import ConfigParser
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import report

START_LIMIT_S = 60.0
# For one address that asks as fast as it can.
UNLIMITED = """[limits]
address_per_second = 1000000
address_burst = 1000000
principal_per_second = 1000000
principal_burst = 1000000
"""


@dataclass(frozen=True)
class ControlPlane:
    """A running one."""

    pid: int
    data: Path
    host: str
    port: int

    def cpu_s(self):
        """CPU seconds of all its threads so far, to the nanosecond: the scheduler's own count."""
        total_ns = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            total_ns += int((task / "schedstat").read_text().split()[0])
        return total_ns / 1e9

    def tls(self):
        """Trusts it; TLS 1.3."""
        context = ssl.create_default_context(cafile=self.data / "admin" / "ca.pem")
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    def connect(self, context, session=None, source="127.0.0.1"):
        """A TLS connection from a loopback address."""
        address = (self.host, self.port)
        plain = socket.create_connection(address, timeout=20, source_address=(source, 0))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(plain, server_hostname=self.host, session=session)

    def request(self, path, headers=()):
        """The bytes of a GET."""
        lines = [f"GET {path} HTTP/1.1", f"host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in headers]
        return "\r\n".join([*lines, "", ""]).encode()

    def signed(self, path):
        """The bytes of a GET with the signature of the first user."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        admin = ConfigParser()
        admin.read([self.data / "admin" / "credentials", self.data / "admin" / "config"])
        keys = admin["default"]
        credentials = Credentials(keys["aws_access_key_id"], keys["aws_secret_access_key"])
        request = AWSRequest("GET", f"https://{self.host}:{self.port}{path}")
        SigV4Auth(credentials, "panorama", keys["region"]).add_auth(request)
        return self.request(path, request.headers.items())


def ask(connection, request):
    """Sends a request, reads its whole answer; the status."""
    connection.sendall(request)
    read = b""
    while b"\r\n\r\n" not in read:
        part = connection.recv(65536)
        if not part:
            raise ConnectionError("the connection ended within an answer")
        read += part
    head, body = read.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"content-length: (\d+)", head.lower()).group(1))
    while len(body) < length:
        body += connection.recv(65536)
    return int(head[9:12])


@contextmanager
def control_plane(config=""):
    """Starts one with these lines of TOML, and ends it."""
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        (work / "parapet.toml").write_text(config, encoding="utf-8")
        log = work / "server.log"
        free = "127.0.0.1:0"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [report.executable("parapet"), "server", "--data", work / "data"]
                + ["--config", work / "parapet.toml", "--listen", free]
                + ["--device-listen", free, "--admin-listen", free],
                stdout=output,
                stderr=output,
                env={
                    **os.environ,
                    "PARAPET_MASTER_KEY_FILE": str(work / "master.key"),
                    "PARAPET_LOG": "parapet_server::server=info,warn",
                },
            )
        try:
            deadline = time.monotonic() + START_LIMIT_S
            while not (found := re.search(r'"api_addr":"([\d.]+):(\d+)"', log.read_text())):
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"bench: the server did not start: {log.read_text()}")
                time.sleep(0.05)
            yield ControlPlane(process.pid, work / "data", found[1], int(found[2]))
        finally:
            process.terminate()
            process.wait(timeout=30)
