"""An agent for tests: real sockets, real memfds, slots granted and freed as the agent does.

It keeps the promises of ``docs/sdk-protocol.md`` and notes every breach by the SDK in ``faults``:
more leases than allowed, a release of what is not leased, a second question for one port.
"""

import array
import fcntl
import json
import mmap
import os
import socket
import struct
import threading
import time

PAGE = mmap.PAGESIZE
SHRINK_GROW = 2 | 4


def send(sock, header, fds=()):
    text = json.dumps(header).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([struct.pack("<I", len(text)), text], rights)


def receive(sock):
    data, rights, _, _ = sock.recvmsg(1 << 17, socket.CMSG_SPACE(16))
    fds = array.array("i")
    for _, _, part in rights:
        fds.frombytes(part)
    if not data:
        return None, []
    length = struct.unpack_from("<I", data)[0]
    return json.loads(data[4 : 4 + length].decode()), list(fds)


def memfd(size):
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    return fd


class Camera(object):
    """A ring that a decoder would write, and the newest frame in it."""

    def __init__(self, name, width=64, height=48, slots=8):
        self.name = name
        self.width, self.height, self.slots = width, height, slots
        self.slot_bytes = (width * height * 3 + PAGE - 1) // PAGE * PAGE
        self.fd = memfd(slots * self.slot_bytes)
        self.memory = mmap.mmap(self.fd, slots * self.slot_bytes)
        fcntl.fcntl(self.fd, 1033, SHRINK_GROW | 0x10)  # and F_SEAL_FUTURE_WRITE
        self.newest = None  # (count, slot, time)
        self.count = 0
        self.users = {}  # slot -> number of leases


class Connection(object):
    def __init__(self, agent, sock):
        self.agent, self.sock = agent, sock
        self.rings = {}  # camera object -> ring number
        self.leases = {}  # (port, lease) -> (camera, slot, count)
        self.seen = {}  # (port, camera) -> count of the newest frame returned
        self.asked = {}  # port -> seq
        self.loading = []  # questions for models that are not loaded
        self.hello = None
        self.sending = threading.Lock()

    def run(self):
        while True:
            try:
                header, fds = receive(self.sock)
            except OSError:
                header = None
            if header is None:
                break
            with self.agent.changed:
                self.handle(header, fds)
                self.agent.packets.append(header)
                self.agent.changed.notify_all()
        with self.agent.changed:
            for port, lease in list(self.leases):
                self.free(port, lease)
            self.agent.connections.remove(self)
            self.agent.changed.notify_all()

    def handle(self, header, fds):
        agent, op = self.agent, header["op"]
        if op == "hello":
            self.hello = header
            send(self.sock, agent.welcome)
        elif op == "get":
            if header["port"] in self.asked:
                agent.faults.append("second get on " + header["port"])
            self.asked[header["port"]] = header["seq"]
            self.answer()
        elif op == "cancel":
            for port, seq in list(self.asked.items()):
                if seq == header["seq"]:
                    del self.asked[port]
                    send(self.sock, {"event": "cancelled", "seq": seq})
            if header["seq"] in self.loading:
                self.loading.remove(header["seq"])
                send(self.sock, {"event": "cancelled", "seq": header["seq"]})
        elif op == "release":
            for lease in header["leases"]:
                ports = [p for p, number in self.leases if number == lease]
                if not ports:
                    agent.faults.append("release of {} which is not leased".format(lease))
                for port in ports:
                    self.free(port, lease)
        elif op == "put":
            pixels = []
            for frame in header["frames"]:
                part = frame["pixels"]
                if part is None:
                    pixels.append(None)
                    continue
                size = part["width"] * part["height"] * 3
                pixels.append(os.pread(fds[part["fd"]], size, part["offset"]))
                if not fcntl.fcntl(fds[part["fd"]], 1034) & 2:
                    agent.faults.append("picture not sealed against shrinking")
            agent.puts.append((header, pixels))
        elif op == "model":
            agent.model_asked(self, header)
        for fd in fds:
            os.close(fd)

    def free(self, port, lease):
        camera, slot, _ = self.leases.pop((port, lease))
        camera.users[slot] -= 1

    def answer(self):
        for port in list(self.asked):
            cameras = [c for c in self.agent.ports[port] if c.newest is not None]
            if not any(self.seen.get((port, c)) != c.count for c in cameras):
                continue
            frames = [self.grant(port, camera) for camera in cameras]
            seq = self.asked.pop(port)
            message = {
                "event": "frames",
                "seq": seq,
                "watched": self.agent.watched,
                "frames": frames,
            }
            send(self.sock, message)

    def grant(self, port, camera):
        if camera not in self.rings:
            self.agent.ring_number += 1
            self.rings[camera] = self.agent.ring_number
            message = {
                "event": "ring",
                "ring": self.rings[camera],
                "width": camera.width,
                "height": camera.height,
                "slots": camera.slots,
                "slot_bytes": camera.slot_bytes,
            }
            send(self.sock, message, [camera.fd])
        count, slot, when = camera.newest
        cached = self.seen.get((port, camera)) == count
        self.seen[(port, camera)] = count
        lease = None
        for (p, number), (c, _, n) in self.leases.items():
            if p == port and c is camera and n == count:
                lease = number
        if lease is None:
            self.agent.lease_number += 1
            lease = self.agent.lease_number
            self.leases[(port, lease)] = (camera, slot, count)
            camera.users[slot] = camera.users.get(slot, 0) + 1
            held = sum(1 for c, _, _ in self.leases.values() if c is camera)
            if held > self.agent.hold:
                self.agent.faults.append("{} leases of {}".format(held, camera.name))
        return {
            "lease": lease,
            "ring": self.rings[camera],
            "slot": slot,
            "stream": camera.name,
            "uri": "rtsp://192.0.2.1/" + camera.name,
            "cached": cached,
            "time": list(when),
        }


class FakeAgent(object):
    def __init__(self, path, cameras, hold=4, hold_bytes=1 << 30, inputs=(), models=()):
        self.path = path
        self.hold = hold
        self.ports = {"video_in": list(cameras)}
        self.watched = True
        self.packets, self.puts, self.faults, self.connections = [], [], [], []
        self.ring_number = self.lease_number = 0
        self.changed = threading.Condition()
        self.workers = {}
        self.welcome = {
            "event": "welcome",
            "version": 1,
            "instance": "applicationInstance-test",
            "node": "code_node",
            "inputs": [{"name": "video_in", "type": "media"}] + list(inputs),
            "outputs": [{"name": "video_out"}],
            "models": list(models),
            "hold": hold,
            "hold_bytes": hold_bytes,
        }
        self.listener = None
        self.listen()

    def listen(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(8)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            connection = Connection(self, sock)
            with self.changed:
                self.connections.append(connection)
            threading.Thread(target=connection.run, daemon=True).start()

    def show(self, camera, value, when=None):
        """A new frame all of whose bytes are ``value``."""
        self.show_pixels(camera, bytes([value]) * (camera.width * camera.height * 3), when)

    def show_pixels(self, camera, pixels, when=None):
        """A new frame, in a slot that nobody has leased."""
        with self.changed:
            slot = self.free_slot(camera)
            start = slot * camera.slot_bytes
            camera.memory[start : start + len(pixels)] = pixels
            camera.count += 1
            when = when or (1700000000 + camera.count, 40000)
            camera.newest = (camera.count, slot, when)
            for connection in self.connections:
                connection.answer()

    def free_slot(self, camera):
        newest = camera.newest[1] if camera.newest else None
        for step in range(1, camera.slots + 1):
            slot = ((newest or 0) + step) % camera.slots
            if not camera.users.get(slot) and slot != newest:
                return slot
        raise AssertionError("every slot of {} is leased".format(camera.name))

    def add_model(self, name, worker):
        """``worker(sock)`` serves calls in a thread for each question."""
        self.workers[name] = worker

    def model_asked(self, connection, header):
        worker = self.workers.get(header["name"])
        if worker is None:
            connection.loading.append(header["seq"])
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        threading.Thread(target=worker.serve, args=(ours,), daemon=True).start()
        message = {
            "event": "model",
            "seq": header["seq"],
            "inputs": worker.inputs,
            "outputs": worker.outputs,
        }
        send(connection.sock, message, [theirs.fileno()])
        theirs.close()

    def close(self):
        """No new connections."""
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed before
        self.listener.close()

    def cut(self):
        """The agent dies: no listener, all connections closed."""
        self.close()
        with self.changed:
            for connection in self.connections:
                connection.sock.shutdown(socket.SHUT_RDWR)
        self.until(lambda: not self.connections, "all connections are closed")

    def until(self, condition, what, seconds=10):
        """Waits for a condition on what has arrived."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not condition():
                rest = deadline - time.monotonic()
                if rest <= 0:
                    raise AssertionError("missing after {} s: {}".format(seconds, what))
                self.changed.wait(rest)

    def sent(self, op):
        with self.changed:
            return [packet for packet in self.packets if packet["op"] == op]


class DoublingModel(object):
    """A model worker: ``out = 2 * data`` and ``sum``; ``dies`` counts calls that kill it."""

    def __init__(self, shape=(1, 4), dtype="float32", dies=0, silent=0):
        self.inputs = [{"name": "data", "dtype": dtype, "shape": list(shape)}]
        self.outputs = [
            {"name": "out", "dtype": "float32", "shape": list(shape)},
            {"name": "sum", "dtype": "float32", "shape": [1]},
        ]
        self.dies, self.silent = dies, silent
        self.calls = []
        self.wake = threading.Event()

    def serve(self, sock):
        import numpy

        memory = None
        while True:
            try:
                header, fds = receive(sock)
            except OSError:
                return
            if header is None:
                return
            if header["buffer"]:
                memory = mmap.mmap(fds[0], 0)
                os.close(fds[0])
            self.calls.append(header)
            if self.dies:
                self.dies -= 1
                sock.close()
                return
            if self.silent:
                self.silent -= 1
                self.wake.wait(10)
            part = header["inputs"][0]
            data = numpy.frombuffer(memory, part["dtype"], offset=part["offset"])
            data = data[: part["bytes"] // data.itemsize].reshape(part["shape"])
            if (data < 0).any():
                send(
                    sock,
                    {"event": "error", "seq": header["seq"], "code": "run", "message": "below 0"},
                )
                continue
            doubled = (data * 2).astype("float32")
            total = numpy.array([data.sum()], "float32")
            fd = memfd(PAGE * (doubled.nbytes // PAGE + 1) + PAGE)
            os.pwrite(fd, doubled.tobytes(), 0)
            second = (doubled.nbytes + 63) // 64 * 64
            os.pwrite(fd, total.tobytes(), second)
            fcntl.fcntl(fd, 1033, SHRINK_GROW)
            answer = {
                "event": "result",
                "seq": header["seq"],
                "buffer": True,
                "outputs": [
                    {
                        "name": "out",
                        "dtype": "float32",
                        "shape": list(doubled.shape),
                        "offset": 0,
                        "bytes": doubled.nbytes,
                    },
                    {
                        "name": "sum",
                        "dtype": "float32",
                        "shape": [1],
                        "offset": second,
                        "bytes": total.nbytes,
                    },
                ],
            }
            send(sock, answer, [fd])
            os.close(fd)
