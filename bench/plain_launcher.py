"""A launcher without any sandbox, for the benchmark `sandbox` alone: the side that is "off".

It speaks the launcher's protocol and starts the same programs as plain processes of its own user:
no namespaces, no users, no control groups, no filters, no rules. A worker sets its inner layer
itself; a filter of three lines has it find a kernel that offers none, so that it goes without.
"""

import array
import ctypes
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

CHANNEL_FD = 3
LENGTH = struct.Struct("<I")
MOST_BYTES, MOST_FDS = 1 << 20, 16
# Numbers of x86-64.
SECCOMP, PRCTL, LANDLOCK = 317, 157, (444, 445, 446)
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
EINVAL, ENOSYS = 22, 38
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def main():
    """Serves the agent until its end of the channel closes."""
    words = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    Launcher(words).serve()


class Launcher:
    """Requests in, events out."""

    def __init__(self, words):
        self.state, self.libexec = Path(words["--state"]), Path(words["--libexec"])
        self.sdk, self.onnxruntime = words["--sdk"], words.get("--onnxruntime")
        self.channel = socket.socket(fileno=CHANNEL_FD)
        self.processes = {}

    def serve(self):
        """Says that nothing is kept apart, then does what it is told."""
        version = subprocess.run(
            [self.libexec / "parapet", "--version"], capture_output=True, text=True, check=True
        ).stdout.split()[-1]
        network = {"uplink": [], "cameras": [], "camera_networks": [], "missing": []}
        network["separation"] = "flat"
        self.tell(event="ready", version=version, privileged=False, network=network, missing=[])
        while True:
            ends = {process.end: number for number, process in self.processes.items()}
            ready, _, _ = select.select([self.channel, *ends], [], [])
            for end in ready:
                if end in ends:
                    self.ended(ends[end])
            if self.channel in ready and not self.answer():
                break
        for process in self.processes.values():
            process.signal(signal.SIGKILL)

    def tell(self, **event):
        """Sends one event."""
        header = json.dumps(event).encode()
        self.channel.send(LENGTH.pack(len(header)) + header)

    def answer(self):
        """Reads one request and does it; false at the end of the channel."""
        room = socket.CMSG_SPACE(MOST_FDS * array.array("i").itemsize)
        data, control, _, _ = self.channel.recvmsg(MOST_BYTES, room)
        if not data:
            return False
        fds = array.array("i")
        for _, _, passed in control:
            fds.frombytes(passed)
        (length,) = LENGTH.unpack_from(data)
        request = json.loads(data[LENGTH.size : LENGTH.size + length])
        getattr(self, request.pop("op"))(fds=list(fds), **request)
        for fd in fds:
            os.close(fd)
        return True

    def worker(self, id, worker, fds):
        """Starts a worker: its channel at 3, its standard error at 2."""
        channel, errors = fds
        environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        if self.onnxruntime:
            environment["ORT_DYLIB_PATH"] = self.onnxruntime

        def before():
            os.dup2(channel, CHANNEL_FD, inheritable=True)
            without_layers()

        command = [self.libexec / f"parapet-{worker}"]
        self.start(id, command, environment, errors, pass_fds=(CHANNEL_FD,), preexec_fn=before)

    def application(self, id, instance, node, image, command, environment, fds, **_):
        """Starts an application: paths of its image stand for themselves below its directory."""
        root = self.state / "images" / image / "rootfs"
        home = self.state / "instances" / instance
        (home / "storage").mkdir(exist_ok=True)
        own = dict(environment)
        own |= {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        own |= {"PYTHONPATH": self.sdk, "PARAPET_SOCKET": f"{home}/run/{node}/sdk.sock"}
        own["PARAPET_BENCH_COUNT"] = f"{home}/storage/count"
        command = [f"{root}{word}" if word.startswith("/") else word for word in command]
        self.start(id, command, own, fds[0], stdout=fds[0])

    def start(self, number, command, environment, errors, **more):
        """Starts a program and says so."""
        stdout = more.pop("stdout", subprocess.DEVNULL)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=errors, env=environment, **more
        )
        self.processes[number] = Process(process)
        self.tell(event="started", id=number, pid=process.pid)

    def reach(self, id, fds, **_):
        """Everybody reaches everything."""
        self.tell(event="reached", id=id, error=None)

    def signal(self, id, signal, fds):
        """Asks a process to end, or ends it."""
        if id in self.processes:
            self.processes[id].signal(TERMINATE if signal == "terminate" else KILL)

    def measure(self, instance, fds):
        """Nobody is held back for its disk."""
        self.tell(event="measured", instance=instance, bytes=0, error=None)

    def remove(self, instance, fds):
        """Leaves files where they are: the benchmark deletes all of it."""
        self.tell(event="removed", instance=instance, error=None)

    def ended(self, number):
        """Says how a process ended."""
        code = self.processes.pop(number).reap()
        self.tell(event="exited", id=number, code=code if code >= 0 else 128 - code)


TERMINATE, KILL = signal.SIGTERM, signal.SIGKILL


class Process:
    """A process, with a descriptor that is readable once it has ended."""

    def __init__(self, process):
        self.process = process
        self.end = os.pidfd_open(process.pid)

    def signal(self, number):
        """Sends a signal."""
        self.process.send_signal(number)

    def reap(self):
        """Its exit code, negative for a signal."""
        os.close(self.end)
        return self.process.wait()


def without_layers():
    """Has this process find neither filters of system calls nor Landlock."""
    number, argument = 0, 16
    lines = [
        (0x20, 0, 0, number),
        (0x15, 6, 0, SECCOMP),
        (0x15, 6, 0, LANDLOCK[0]),
        (0x15, 5, 0, LANDLOCK[1]),
        (0x15, 4, 0, LANDLOCK[2]),
        (0x15, 0, 4, PRCTL),
        (0x20, 0, 0, argument),
        (0x15, 0, 2, PR_SET_SECCOMP),
        (0x06, 0, 0, ERRNO | EINVAL),
        (0x06, 0, 0, ERRNO | ENOSYS),
        (0x06, 0, 0, ALLOW),
    ]
    filters = b"".join(struct.pack("<HBBI", *line) for line in lines)
    kept = ctypes.create_string_buffer(filters, len(filters))
    program = ctypes.create_string_buffer(
        struct.pack("<HxxxxxxQ", len(lines), ctypes.addressof(kept))
    )
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no new privileges")
    if libc.prctl(PR_SET_SECCOMP, MODE_FILTER, program) != 0:
        raise OSError(ctypes.get_errno(), "filter")


if __name__ == "__main__":
    main()
