"""Cameras that lead their client astray: towards other hosts, by every field that can name one.

Each listens on an address of its own among the cameras, at port 554, and writes down what it was
asked. The hosts that they name run canaries: whoever connects there is counted.
"""

import re
import socket
import threading

from streets import INTERNET4, camera4, uplink4

# Another camera that nobody has configured, hosts of the uplink and of the internet, the
# appliance's own neighbours, and where clouds keep credentials.
CANARIES = [camera4(30), uplink4("up"), INTERNET4, "169.254.169.254", "10.77.2.254", "127.0.0.1"]

SDP = (
    "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=town\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    "a=control:{control}\r\nm=video {port} RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    "a=fmtp:96 packetization-mode=1;profile-level-id=42C01E;"
    "sprop-parameter-sets=Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg==\r\na=control:{track}\r\n"
)


class HostileCamera:
    """One trick, played against whoever connects."""

    def __init__(self, streets, address, trick, canary):
        self.address, self.trick, self.canary = address, trick, canary
        self.asked = []
        self.played = 0
        with streets.inside("cam"):
            self.listener = socket.create_server((address, 554))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def url(self):
        """As a document names it."""
        return f"rtsp://{self.address}:554/{self.trick}"

    def _serve(self):
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(stream,), daemon=True).start()

    def _talk(self, stream):
        stream.settimeout(10)
        kept = b""
        try:
            while True:
                while b"\r\n\r\n" not in kept:
                    part = stream.recv(4096)
                    if not part:
                        return
                    kept += part
                head, _, kept = kept.partition(b"\r\n\r\n")
                for answer in self._answer(head.decode("ascii", "replace")):
                    stream.sendall(answer)
        except OSError:
            return
        finally:
            stream.close()

    def _answer(self, head):
        """What it says to a request; a trick that was played is counted."""
        method = head.split(" ", 1)[0]
        self.asked.append(method)
        found = re.search(r"(?im)^cseq:\s*(\d+)", head)
        number = found.group(1) if found else "0"

        def say(code, headers=(), body=""):
            lines = [f"RTSP/1.0 {code}", f"CSeq: {number}", *headers]
            if body:
                lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
            return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

        away = f"rtsp://{self.canary}:554/away"
        if method == "OPTIONS":
            yield say("200 OK", ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, REDIRECT"])
        elif method == "DESCRIBE" and self.trick.startswith("location-"):
            self.played += 1
            yield say(f"{self.trick.removeprefix('location-')} Moved", [f"Location: {away}"])
        elif method == "DESCRIBE":
            host, control, track, headers = self.address, "*", "track1", []
            if self.trick == "sdp-connection":
                host = self.canary
            elif self.trick == "sdp-control":
                control, track = away, f"{away}/track1"
            elif self.trick == "content-base":
                headers = [f"Content-Base: {away}/", f"Content-Location: {away}/"]
            if self.trick in ("sdp-connection", "sdp-control", "content-base"):
                self.played += 1
            sdp = SDP.format(host=host, control=control, track=track, port=9)
            yield say("200 OK", headers, sdp)
        elif method == "SETUP":
            transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
            if self.trick == "transport-destination":
                self.played += 1
                transport += f";destination={self.canary};source={self.canary}"
            elif self.trick == "transport-udp":
                self.played += 1
                transport = (
                    f"RTP/AVP;unicast;client_port=5004-5005;server_port=5006-5007;"
                    f"destination={self.canary};source={self.canary}"
                )
            yield say("200 OK", ["Session: 7", f"Transport: {transport}"])
        elif method == "PLAY":
            yield say("200 OK", ["Session: 7"])
            if self.trick == "redirect-request":
                self.played += 1
                yield (
                    f"REDIRECT rtsp://{self.address}:554/ RTSP/1.0\r\nCSeq: 900\r\n"
                    f"Location: {away}\r\n\r\n"
                ).encode()
            if self.trick == "announce-request":
                self.played += 1
                sdp = SDP.format(host=self.canary, control=away, track=away, port=9)
                yield (
                    f"ANNOUNCE rtsp://{self.address}:554/ RTSP/1.0\r\nCSeq: 901\r\n"
                    f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}"
                ).encode()
        else:
            yield say("200 OK", ["Session: 7"])


TRICKS = [
    "location-301",
    "location-302",
    "location-303",
    "location-305",
    "sdp-connection",
    "sdp-control",
    "content-base",
    "transport-destination",
    "transport-udp",
    "redirect-request",
    "announce-request",
]


class HostileCameras:
    """One camera a trick; the canaries take turns."""

    def __init__(self, streets):
        self.all = [
            HostileCamera(streets, camera4(12 + index), trick, CANARIES[index % len(CANARIES)])
            for index, trick in enumerate(TRICKS)
        ]

    def end(self):
        """Stops listening."""
        for one in self.all:
            one.listener.close()
