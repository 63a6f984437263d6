"""Tries to get out of its sandbox; one line in events.jsonl an attempt, with what came of it.

Started on the host, with the file to write as its argument, it shows that its attempts are real:
there all succeed. It does not try to write there.
"""

import json
import os
import socket
import subprocess
import sys

ON_HOST = len(sys.argv) > 1
EVENTS = sys.argv[1] if ON_HOST else "/opt/aws/panorama/logs/events.jsonl"
HERE = os.path.dirname(os.path.abspath(__file__))


def report(**event):
    with open(EVENTS, "a") as file:
        file.write(json.dumps(dict(event, type="probe")) + "\n")


def attempt(name, function, *arguments):
    try:
        report(name=name, got=True, said=str(function(*arguments))[:200])
    except (OSError, LookupError) as error:
        report(name=name, got=False, said=repr(error))


def connect(host, port):
    socket.create_connection((host, port), timeout=3).close()


def connect_abstract(name):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + name)


def read(path):
    if os.path.isdir(path):
        return os.listdir(path)
    with open(path, "rb") as file:
        return len(file.read(65536))


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def find_process(words):
    """The command line of a process of the host."""
    for pid in pids():
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as file:
                command = file.read().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if any(word in command[1:3] for word in words):
            return command
    raise LookupError("none among %s" % pids())


def read_others(file):
    """Whose environment or memory can be opened, this process left aside."""
    opened = []
    for pid in pids():
        if pid == os.getpid():
            continue
        try:
            with open("/proc/%d/%s" % (pid, file), "rb") as other:
                if file == "environ":
                    other.read(1)
            opened.append(pid)
        except OSError:
            pass
    if not opened:
        raise LookupError("none of %s" % pids())
    return opened


def write(path):
    with open(path, "a"):
        pass


def writable_directories():
    found = []
    for directory, _, _ in os.walk("/"):
        if directory != "/proc" and not directory.startswith("/proc/"):
            if os.access(directory, os.W_OK):
                found.append(directory)
    return found


def main():
    with open(os.path.join(HERE, "targets.json")) as file:
        targets = json.load(file)
    # Where a host guards memories within one user, a process may still open those of its children.
    child = subprocess.Popen(["sleep", "60"]) if ON_HOST else None
    for host, port in targets["connect"]:
        attempt("connect %s:%d" % (host, port), connect, host, port)
    attempt("connect to an abstract socket", connect_abstract, targets["abstract"])
    for path in targets["read"]:
        attempt("read " + path, read, path)
    attempt("find the agent", find_process, ["agent"])
    attempt("find the server", find_process, ["server"])
    attempt("read an environment", read_others, "environ")
    attempt("read a memory", read_others, "mem")
    if not ON_HOST:
        for path in targets["write"]:
            attempt("write " + path, write, path)
        for directory in ("storage", "logs"):
            path = os.path.join("/opt/aws/panorama", directory, "mine")
            attempt("write its own " + directory, write, path)
        report(name="writable", directories=writable_directories())
    if child:
        child.kill()
        child.wait()
    report(name="done")


main()
if not ON_HOST:
    import panoramasdk

    class Application(panoramasdk.node):
        """Lives on, so that its life can be looked at."""

    Application()
    while True:
        socket.socketpair()[0].recv(1)
