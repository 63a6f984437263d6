"""Java 17 against both listeners."""

import subprocess
from pathlib import Path

import pytest

PROBE = Path(__file__).with_name("Probe.java")
REFUSED = {"SSLv3", "TLS 1.0", "TLS 1.1", "static RSA", "CBC", "anonymous", "DHE only", "3DES"}
REFUSED |= {"RC4"}
# What OpenSSL, the control, can answer: Debian's has no SSLv3, RC4 and 3DES.
PROVABLE = REFUSED - {"SSLv3", "RC4", "3DES"}


def probe(place, ca):
    """What came of each case."""
    host, port = place
    done = subprocess.run(
        ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", PROBE, host, str(port), ca],
        capture_output=True,
        timeout=180,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def control(lax):
    """What this Java can do where it may, but for trusting a stranger."""
    return probe(lax.place, lax.ca)


def test_the_api_serves_java_in_both_versions_and_in_nothing_older(server, control):
    assert {name for name in PROVABLE if control[name] != "ok"} == set(), control
    found = probe(server.api, server.ca)
    assert {name for name, outcome in found.items() if outcome == "ok"} == {
        "TLS 1.2",
        "TLS 1.3",
        "HTTPS",
    }, found
    # Refused by the server's alert, not by Java itself.
    assert all("alert" in found[name] for name in REFUSED), found


def test_the_device_listener_refuses_java_without_a_certificate(server):
    found = probe(server.device, server.ca)
    assert all("alert" in found[name] for name in REFUSED | {"TLS 1.2"}), found
    assert found["HTTPS"] != "ok", found
