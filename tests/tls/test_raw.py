"""First messages that no ordinary client sends any more, or ever sent; built by hand and with
tlslite-ng. Each must end soon, and the listener must be there for the next client."""

import os
import socket
import struct
import time

import pytest
from tlslite.constants import CipherSuite, GroupName, SignatureScheme
from tlslite.extensions import SignatureAlgorithmsExtension, SupportedGroupsExtension
from tlslite.messages import ClientHello

ALERT, HANDSHAKE = 21, 22
# Much longer than the three seconds that a first message may take.
LONG_S = 20.0
# Far less than them: for what is refused by what it is.
SOON_S = 2.0

GOOD = [CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]
OLD_SUITES = {
    "RC4": [CipherSuite.TLS_RSA_WITH_RC4_128_SHA, CipherSuite.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA],
    "3DES": [
        CipherSuite.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
        CipherSuite.TLS_ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA,
    ],
    "CBC": [CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256],
    "static RSA": [CipherSuite.TLS_RSA_WITH_AES_128_GCM_SHA256],
    "anonymous": [CipherSuite.TLS_DH_ANON_WITH_AES_128_GCM_SHA256],
    "no encryption": [CipherSuite.TLS_RSA_WITH_NULL_SHA],
}


def hello(version, suites, compression=(0,)):
    """A first message without its record."""
    extensions = [
        SupportedGroupsExtension().create([GroupName.x25519, GroupName.secp256r1]),
        SignatureAlgorithmsExtension().create(
            [SignatureScheme.ecdsa_secp256r1_sha256, SignatureScheme.rsa_pkcs1_sha256]
        ),
    ]
    message = ClientHello().create(version, os.urandom(32), b"", suites, extensions=extensions)
    message.compression_methods = list(compression)
    return bytes(message.write())


def record(content, kind=HANDSHAKE, version=(3, 1)):
    return bytes([kind, *version]) + struct.pack(">H", len(content)) + content


def answer(place, sent):
    """All that comes back, and how long until the end."""
    begun = time.monotonic()
    with socket.create_connection(place, timeout=LONG_S) as connection:
        read = b""
        try:
            connection.sendall(sent)
            while part := connection.recv(4096):
                read += part
                if read[0] == HANDSHAKE:
                    break
        except (ConnectionResetError, BrokenPipeError):
            pass
    return read, time.monotonic() - begun


def assert_refused(place, sent):
    read, seconds = answer(place, sent)
    assert read[:1] in (b"", bytes([ALERT])), f"went on with the handshake: {read[:16].hex()}"
    assert seconds < SOON_S, f"took {seconds:.1f} s"


@pytest.fixture(autouse=True)
def the_next_client_is_served(server):
    yield
    read, _ = answer(server.api, record(hello((3, 3), GOOD)))
    assert read[:1] == bytes([HANDSHAKE])


@pytest.mark.parametrize("minor", [0, 1, 2])
def test_a_version_of_the_past_is_refused(place, minor):
    """SSLv3, TLS 1.0 and 1.1, with suites that they have and with ours."""
    old = [CipherSuite.TLS_RSA_WITH_AES_128_CBC_SHA, CipherSuite.TLS_RSA_WITH_RC4_128_SHA]
    for suites in (old, GOOD):
        assert_refused(place, record(hello((3, minor), suites), version=(3, minor)))


def test_sslv2_is_refused(place):
    suites = bytes([1, 0, 128, 7, 0, 192])
    message = bytes([1, 0, 2]) + struct.pack(">HHH", len(suites), 0, 16) + suites + bytes(16)
    assert_refused(place, struct.pack(">H", 0x8000 | len(message)) + message)


@pytest.mark.parametrize("what", OLD_SUITES)
def test_a_suite_of_the_past_is_refused(place, what):
    assert_refused(place, record(hello((3, 3), OLD_SUITES[what])))


def test_compression_is_never_used(server):
    # Offered beside "none" it is passed over; offered alone the message is refused.
    read, _ = answer(server.api, record(hello((3, 3), GOOD, compression=(1, 0))))
    assert read[0] == HANDSHAKE
    session_id = read[5 + 4 + 2 + 32]
    assert read[5 + 4 + 2 + 32 + 1 + session_id + 2] == 0, "the method that was picked"
    assert_refused(server.api, record(hello((3, 3), GOOD, compression=(1,))))


@pytest.mark.parametrize(
    "sent",
    {
        "text": b"GET / HTTP/1.1\r\nhost: parapet\r\n\r\n",
        "noise": bytes(range(256)) * 64,
        "zeros": bytes(4096),
        "an empty record": record(b""),
        "a record longer than any": bytes([HANDSHAKE, 3, 3, 0xFF, 0xFF]) + bytes(0xFFFF),
        "a message longer than any": record(bytes([1, 0xFF, 0xFF, 0xFF]) + bytes(64)) * 300,
        "application data first": record(b"hello", kind=23),
        "an alert first": record(bytes([2, 0]), kind=ALERT),
        "a change of ciphers first": record(b"\x01", kind=20),
        "a heartbeat that lies": record(bytes([1, 0x40, 0]), kind=24, version=(3, 2)),
        "a server's message": record(bytes([2, 0, 0, 38]) + bytes(38)),
    }.items(),
    ids=lambda sent: sent[0],
)
def test_garbage_is_cut_off(place, sent):
    """Attack A14."""
    assert_refused(place, sent[1])


def test_a_first_message_in_crumbs_is_taken_and_without_end_is_not(server):
    """Records of one byte are allowed; a message of 60,000 of them is cut off by its size."""
    whole = hello((3, 3), GOOD)
    crumbs = b"".join(record(bytes([byte])) for byte in whole)
    read, _ = answer(server.api, crumbs)
    assert read[0] == HANDSHAKE
    endless = record(bytes([1, 0, 0xEA])) + record(b"\x60") + record(b"\x03") * 60_000
    assert_refused(server.api, endless)


def test_a_slow_first_message_is_not_waited_for(place):
    """Attack A14: one byte at a time, forever."""
    whole = record(hello((3, 3), GOOD))
    begun = time.monotonic()
    with socket.create_connection(place, timeout=LONG_S) as connection:
        connection.settimeout(0.25)
        try:
            for byte in whole:
                connection.sendall(bytes([byte]))
                try:
                    if not connection.recv(64):
                        break
                except TimeoutError:
                    pass
            else:
                pytest.fail("the whole message was waited for")
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert time.monotonic() - begun < 8
