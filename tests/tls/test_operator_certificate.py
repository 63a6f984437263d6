"""The operator's certificate at a running `parapet server`: its files, SIGHUP, and a bad pair."""

import signal
import ssl
import subprocess
import time

import pytest

from control_plane import start_server, stop_process

LIMIT_S = 20.0


def make(directory, name):
    """A certificate and key for 127.0.0.1, which can be told by its name."""
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-subj", f"/CN={name}", "-days", "2"]
        + ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        + ["-addext", "subjectAltName=IP:127.0.0.1"]
        + ["-keyout", directory / f"{name}.key", "-out", directory / f"{name}.pem"],
        check=True,
        capture_output=True,
    )


def install(directory, certificate, key):
    for kind, name in [("pem", certificate), ("key", key)]:
        text = (directory / f"{name}.{kind}").read_bytes()
        new = directory / f"new.{kind}"
        new.write_bytes(text)
        new.chmod(0o600)
        new.rename(directory / f"tls.{kind}")


def shown(server):
    return ssl.get_server_certificate(server.api, timeout=LIMIT_S).strip()


def wait_until(what, condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)


def test_a_new_certificate_is_taken_and_a_bad_one_is_not(tmp_path):
    for name in ["first", "second"]:
        make(tmp_path, name)
    pem = {name: (tmp_path / f"{name}.pem").read_text().strip() for name in ["first", "second"]}
    (tmp_path / "bundle.pem").write_text("\n".join(pem.values()))
    install(tmp_path, "first", "first")
    server = start_server(
        tmp_path,
        '[tls]\ncertificate = "tls.pem"\nkey = "tls.key"\nca_bundle = "bundle.pem"\n',
    )
    try:
        assert shown(server) == pem["first"]
        assert server.ca.read_text() == (tmp_path / "bundle.pem").read_text()

        install(tmp_path, "second", "second")
        server.process.send_signal(signal.SIGHUP)
        wait_until("the second is shown", lambda: shown(server) == pem["second"])

        install(tmp_path, "first", "second")
        server.process.send_signal(signal.SIGHUP)
        wait_until("the bad pair is logged", lambda: "kept the old" in server.log.read_text())
        assert shown(server) == pem["second"]
        assert server.process.poll() is None
    finally:
        stop_process(server.process)


@pytest.mark.parametrize("fault", ["pair", "mode", "missing"])
def test_a_server_does_not_start_with_a_bad_certificate(tmp_path, fault):
    for name in ["first", "second"]:
        make(tmp_path, name)
    install(tmp_path, "first", "second" if fault == "pair" else "first")
    if fault == "mode":
        (tmp_path / "tls.key").chmod(0o644)
    if fault == "missing":
        (tmp_path / "tls.pem").unlink()
    with pytest.raises(pytest.fail.Exception) as failed:
        start_server(tmp_path, '[tls]\ncertificate = "tls.pem"\nkey = "tls.key"\n')
    remedy = {"pair": "tls.key", "mode": "chmod o=", "missing": "tls.pem"}[fault]
    assert remedy in str(failed.value)
