"""OpenSSL's s_client against both listeners."""

import subprocess

import pytest

# What must be refused, and with which options OpenSSL offers nothing else.
REFUSED = {
    "TLS 1.0": ["-tls1", "-cipher", "ALL:@SECLEVEL=0"],
    "TLS 1.1": ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
    "static RSA": ["-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"],
    "CBC with forward secrecy": [
        "-tls1_2",
        "-cipher",
        "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES128-SHA256",
    ],
    "anonymous": ["-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"],
    "finite-field Diffie-Hellman only": ["-tls1_2", "-cipher", "kDHE+aRSA"],
    "no encryption": ["-tls1_2", "-cipher", "eNULL:@SECLEVEL=0"],
}


@pytest.fixture
def s_client(openssl):
    """A call of s_client: whether it agreed on a suite, and all that it prints."""

    def call(place, *options, say=b""):
        host, port = place
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"{host}:{port}", *options],
            input=say,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            env=openssl,
            check=False,
        )
        text = done.stdout.decode(errors="replace")
        return "Cipher is " in text and "Cipher is (NONE)" not in text, text

    return call


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_place_is_refused(s_client, place, lax, what):
    agreed, text = s_client(lax.place, *REFUSED[what])
    assert agreed, f"this OpenSSL cannot offer {what}: {text}"
    agreed, text = s_client(place, *REFUSED[what])
    assert not agreed, text
    assert "alert" in text, f"refused in TLS's own words: {text}"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_the_api_speaks_both_versions(s_client, server, version):
    agreed, text = s_client(server.api, version, "-CAfile", server.ca, "-verify_return_error")
    assert agreed and "Verify return code: 0 (ok)" in text, text


def test_devices_are_spoken_to_in_tls_1_3_only(s_client, server):
    agreed, text = s_client(server.device, "-tls1_2")
    assert not agreed and "protocol version" in text, text
    agreed, text = s_client(server.device, "-tls1_3")
    assert agreed, text
    # OpenSSL has finished when the server still looks at the certificate that did not come.
    agreed, text = s_client(server.device, "-tls1_3", "-ign_eof", say=b"GET / HTTP/1.1\r\n\r\n")
    assert "certificate required" in text, text


def test_a_client_cannot_renegotiate(s_client, server):
    options = ["-tls1_2", "-CAfile", server.ca, "-legacy_renegotiation"]
    agreed, text = s_client(server.api, *options, say=b"R\n")
    assert agreed and "RENEGOTIATING" in text, text
    assert "no renegotiation" in text, text


def test_a_session_is_resumed_at_the_api_and_never_at_the_device_listener(
    s_client, server, tmp_path
):
    """Attack D12, with another client's eyes."""
    get = b"GET /healthz HTTP/1.1\r\nhost: parapet\r\nconnection: close\r\n\r\n"
    session = tmp_path / "session.pem"
    for version in ["-tls1_2", "-tls1_3"]:
        kept = [version, "-CAfile", server.ca, "-ign_eof"]
        s_client(server.api, *kept, "-sess_out", session, say=get)
        _, text = s_client(server.api, *kept, "-sess_in", session, say=get)
        assert "Reused, " in text, text
    session.unlink()
    options = ["-tls1_3", "-ign_eof", "-sess_out", session]
    _, text = s_client(server.device, *options, say=get)
    assert "New Session Ticket" not in text, text
    # The session of the API is no good here either.
    s_client(server.api, "-tls1_3", "-ign_eof", "-sess_out", session, say=get)
    _, text = s_client(server.device, "-tls1_3", "-ign_eof", "-sess_in", session, say=get)
    assert "Reused, " not in text, text
