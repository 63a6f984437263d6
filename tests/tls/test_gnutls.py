"""GnuTLS' gnutls-cli against both listeners."""

import subprocess

import pytest

# With everything allowed that GnuTLS has, but for what is set.
ALL = "NORMAL:%COMPAT:+VERS-ALL:+SHA1:+CIPHER-ALL:+MAC-ALL:+KX-ALL:+SIGN-ALL"
TLS_1_2 = "NORMAL:-VERS-ALL:+VERS-TLS1.2"

# What must be refused, and which priorities offer nothing else. With GnuTLS' NORMAL there is no
# RC4, which `test_raw.py` offers.
REFUSED = {
    "TLS 1.0": "NORMAL:-VERS-ALL:+VERS-TLS1.0:+SIGN-RSA-SHA1:%VERIFY_ALLOW_SIGN_WITH_SHA1",
    "TLS 1.1": "NORMAL:-VERS-ALL:+VERS-TLS1.1:+SIGN-RSA-SHA1:%VERIFY_ALLOW_SIGN_WITH_SHA1",
    "static RSA": f"{TLS_1_2}:-KX-ALL:+RSA",
    "CBC": f"{TLS_1_2}:-CIPHER-ALL:+AES-128-CBC:+AES-256-CBC",
    "anonymous": f"{TLS_1_2}:-KX-ALL:+ANON-ECDH:+ANON-DH",
    "finite-field Diffie-Hellman only": f"{TLS_1_2}:-KX-ALL:+DHE-RSA",
    "CCM": f"{TLS_1_2}:-CIPHER-ALL:+AES-128-CCM:+AES-256-CCM",
}


def gnutls(place, priority, *options):
    """Whether the handshake was completed, and all that gnutls-cli prints."""
    host, port = place
    done = subprocess.run(
        ["gnutls-cli", "--port", str(port), "--priority", priority, *options, host],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=30,
        check=False,
    )
    text = done.stdout.decode(errors="replace")
    return "Handshake was completed" in text, text


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_place_is_refused(place, lax, what):
    agreed, text = gnutls(lax.place, REFUSED[what], "--insecure")
    assert agreed, f"this GnuTLS cannot offer {what}: {text}"
    agreed, text = gnutls(place, REFUSED[what], "--insecure")
    assert not agreed and "alert" in text, text


@pytest.mark.parametrize("version", ["TLS1.2", "TLS1.3"])
def test_the_api_speaks_both_versions(server, version):
    priority = f"NORMAL:-VERS-ALL:+VERS-{version}"
    agreed, text = gnutls(server.api, priority, f"--x509cafile={server.ca}")
    assert agreed and f"({version}" in text, text


def test_a_client_cannot_renegotiate(server):
    options = [f"--x509cafile={server.ca}", "--rehandshake"]
    agreed, text = gnutls(server.api, TLS_1_2, *options)
    assert agreed and "ReHandshake was completed" not in text, text
