"""What a fresh server must not have: known credentials, open doors for the curious."""

import subprocess

import pytest
from signing import connection, credentials, get, signed_headers

from control_plane import TARGET, start_server, stop_process

# Of other servers' manuals, and of AWS's own examples.
KNOWN = [
    ("admin", "admin"),
    ("minioadmin", "minioadmin"),
    ("rustfsadmin", "rustfsadmin"),
    ("test", "test"),
    ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
]


def test_there_are_no_default_credentials(server, tmp_path):
    """Attack O1."""
    for keys in KNOWN:
        headers = signed_headers(server, "GET", "/devices", keys=keys)
        status, _, body = get(connection(server), "/devices", headers)
        assert status in (400, 403), (keys, status, body)
    other = start_server(tmp_path)
    try:
        ours, theirs = credentials(server), credentials(other)
        assert ours[0] != theirs[0] and ours[1] != theirs[1]
        assert len(ours[1]) >= 40
        mode = (server.admin / "credentials").stat().st_mode & 0o777
        assert mode == 0o600, oct(mode)
    finally:
        stop_process(other.process)


@pytest.mark.parametrize(
    "path",
    [
        "/metrics",
        "/debug/pprof/",
        "/debug/vars",
        "/profile",
        "/actuator/env",
        "/server-status",
        "/minio/admin/v3/info",
        "/.env",
        "/admin/credentials",
        "/console/../admin/credentials",
        "/console/%2e%2e/%2e%2e/admin/credentials",
    ],
)
def test_nothing_is_told_to_who_does_not_sign(server, path):
    """Attack O2."""
    status, headers, body = get(connection(server), path, {})
    assert status in (400, 401, 403, 404), (status, body)
    assert b"parapet_" not in body and b"aws_secret" not in body
    assert headers["strict-transport-security"] == "max-age=63072000"


def test_metrics_cannot_be_made_to_listen_for_others(tmp_path):
    """Attack O2: the one door without a signature is for this machine."""
    (tmp_path / "parapet.toml").write_text('admin_listen = "0.0.0.0:0"\n', encoding="utf-8")
    done = subprocess.run(
        [TARGET / "debug" / "parapet", "server", "--data", tmp_path / "data"]
        + ["--config", tmp_path / "parapet.toml"],
        capture_output=True,
        timeout=60,
        text=True,
        check=False,
    )
    assert done.returncode != 0 and "admin_listen" in done.stdout + done.stderr
