"""sslscan lists what each listener takes: that, and nothing else.

Debian's cannot offer compression: `test_raw.py` does.
"""

import subprocess
import xml.etree.ElementTree as xml

TLS_1_3 = {
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
}
TLS_1_2 = {
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
}


def scan(place):
    """The suites by version, the versions, and the report."""
    host, port = place
    done = subprocess.run(
        ["sslscan", "--xml=-", "--show-client-cas", f"{host}:{port}"],
        capture_output=True,
        timeout=120,
        check=True,
    )
    report = xml.fromstring(done.stdout).find("ssltest")
    suites = {}
    for cipher in report.iter("cipher"):
        suites.setdefault(cipher.get("sslversion"), set()).add(cipher.get("cipher"))
    versions = {
        f"{protocol.get('type')} {protocol.get('version')}"
        for protocol in report.iter("protocol")
        if protocol.get("enabled") == "1"
    }
    return suites, versions, report


def test_the_api_takes_three_suites_of_each_version(server):
    suites, versions, report = scan(server.api)
    assert versions == {"tls 1.2", "tls 1.3"}
    assert suites == {"TLSv1.2": TLS_1_2, "TLSv1.3": TLS_1_3}
    assert report.find("renegotiation").get("supported") == "0"
    assert all(found.get("vulnerable") == "0" for found in report.iter("heartbleed"))


def test_the_device_listener_takes_tls_1_3_alone(server):
    suites, versions, _ = scan(server.device)
    assert versions == {"tls 1.3"}
    assert suites.get("TLSv1.3", TLS_1_3) == TLS_1_3 and set(suites) <= {"TLSv1.3"}
