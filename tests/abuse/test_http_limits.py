"""Attack A14 in what HTTP allows: slow headers, slow bodies, floods of frames. Each connection must
end, and the next caller must be served."""

import socket
import ssl
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from signing import signed_headers

LONG_S = 60.0
HEADERS, RST_STREAM, SETTINGS, GOAWAY, CONTINUATION = 1, 3, 4, 7, 9
END_STREAM, END_HEADERS = 1, 4
ENHANCE_YOUR_CALM = 11


def connect(server, protocol):
    context = ssl.create_default_context(cafile=server.ca)
    context.set_alpn_protocols([protocol])
    plain = socket.create_connection(server.api, timeout=LONG_S)
    connection = context.wrap_socket(plain, server_hostname=server.api[0])
    assert connection.selected_alpn_protocol() == protocol
    return connection


def frame(kind, flags, stream, content):
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


def head(server):
    """GET /healthz, in the static table of HPACK and literals."""
    authority = f"{server.api[0]}:{server.api[1]}".encode()
    path = b"/healthz"
    return bytes([0x82, 0x87, 0x04, len(path)]) + path + bytes([0x01, len(authority)]) + authority


def opened(server):
    connection = connect(server, "h2")
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b""))
    return connection


def end_of(connection):
    """Reads to the end; the error code of GOAWAY where there was one."""
    read, code = b"", None
    try:
        while part := connection.recv(65536):
            read += part
            while len(read) >= 9 and len(read) >= 9 + int.from_bytes(read[:3], "big"):
                length = int.from_bytes(read[:3], "big")
                if read[3] == GOAWAY:
                    code = int.from_bytes(read[13:17], "big")
                read = read[9 + length :]
    except (ConnectionResetError, ssl.SSLError):
        pass
    return code


@pytest.fixture(autouse=True)
def the_next_caller_is_served(server):
    yield
    with connect(server, "http/1.1") as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: parapet\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_streams_that_are_opened_and_reset_at_once_end_the_connection(server):
    """The rapid reset of CVE-2023-44487."""
    with opened(server) as connection:
        flood = b"".join(
            frame(HEADERS, END_STREAM | END_HEADERS, stream, head(server))
            + frame(RST_STREAM, 0, stream, struct.pack(">I", 8))
            for stream in range(1, 20_001, 2)
        )
        try:
            connection.sendall(flood)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            pass
        assert end_of(connection) in (ENHANCE_YOUR_CALM, None)


def test_headers_that_never_end_end_the_connection(server):
    """The CONTINUATION flood of CVE-2024-27316."""
    # A literal that is not indexed: a name of one byte, a value of sixteen.
    field = bytes([0x00, 1]) + b"x" + bytes([16]) + bytes(b"a" * 16)
    begun = time.monotonic()
    with opened(server) as connection:
        try:
            connection.sendall(frame(HEADERS, END_STREAM, 1, head(server)))
            for _ in range(2_000):
                connection.sendall(frame(CONTINUATION, 0, 1, field * 50))
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            pass
        end_of(connection)
    assert time.monotonic() - begun < 30


def test_slow_headers_and_slow_bodies_are_not_waited_for(server):
    def drip(sent_first, byte):
        """Seconds until the server has enough of a byte a second, and what it said."""
        begun = time.monotonic()
        said = b""
        with connect(server, "http/1.1") as connection:
            connection.sendall(sent_first)
            connection.settimeout(1.0)
            while time.monotonic() - begun < LONG_S:
                try:
                    connection.sendall(byte)
                    part = connection.recv(65536)
                    said += part
                    if not part or said:
                        break
                except TimeoutError:
                    continue
                except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
                    break
        return time.monotonic() - begun, said

    body = b"x" * 100_000
    headers = signed_headers(server, "POST", "/devices", body)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    host, port = server.api
    lines += [f"host: {host}:{port}", f"content-length: {len(body)}", "", ""]
    slow_body = "\r\n".join(["POST /devices HTTP/1.1", *lines]).encode()
    with ThreadPoolExecutor() as pool:
        header = pool.submit(drip, b"GET /healthz HTTP/1.1\r\nx-slow: ", b"a")
        content = pool.submit(drip, slow_body, b"x")
        seconds, said = header.result()
        assert seconds < 15, said
        seconds, said = content.result()
        assert seconds < 35 and b" 408 " in said.split(b"\r\n")[0] + b" ", said
