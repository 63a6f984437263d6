"""Tries, from inside an application, what a sandbox has to refuse. Prints one line per attempt:
the name and "ok" or the error. Arguments: a TCP port of the host's loopback, the name of an
abstract socket of the host, the process ID of a host process, paths that must be out of reach."""
import ctypes
import errno
import os
import socket
import sys

LIBC = ctypes.CDLL(None, use_errno=True)


def attempt(name, action):
    try:
        action()
        print(name, "ok", flush=True)
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error.errno), flush=True)


def call(function, *arguments):
    def action():
        if getattr(LIBC, function)(*arguments) < 0:
            number = ctypes.get_errno()
            raise OSError(number, function)
    return action


def write(path):
    def action():
        with open(path, "w") as file:
            file.write("x")
    return action


def read(path):
    def action():
        with open(path, "rb") as file:
            file.read(1)
    return action


def masked(path):
    # What is covered may be there, with nothing in it.
    def action():
        with open(path, "rb") as file:
            if not file.read(1):
                raise PermissionError(errno.EACCES, path)
    return action


def connect(family, address):
    def action():
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            client.connect(address)
    return action


def run_from_tmp():
    with open("/tmp/program", "w") as file:
        file.write("#!/bin/sh\n")
    os.chmod("/tmp/program", 0o755)
    os.execv("/tmp/program", ["program"])


def sdk():
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(os.environ["PARAPET_SOCKET"])


port, abstract, host_pid = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
NEWNS, NEWUSER, NEWNET = 0x20000, 0x10000000, 0x40000000

attempt("connect_tcp", connect(socket.AF_INET, ("127.0.0.1", port)))
attempt("connect_outside", connect(socket.AF_INET, ("192.0.2.1", 80)))
attempt("connect_abstract", connect(socket.AF_UNIX, "\0" + abstract))
attempt("connect_sdk", sdk)
for number, path in enumerate(sys.argv[4:]):
    attempt("read_host_%d" % number, read(path))
attempt("read_init_memory", read("/proc/1/mem"))
attempt("read_init_environ", read("/proc/1/environ"))
attempt("read_through_init", lambda: os.listdir("/proc/1/root"))
attempt("read_kernel_memory", masked("/proc/kcore"))
for place in ["/", "/usr/", "/panorama/", "/etc/", "/opt/parapet/python/", "/run/parapet/", "/dev/"]:
    attempt("write_" + place, write(place + "new"))
attempt("write_sysctl", write("/proc/sys/kernel/hostname"))
attempt("write_net_sysctl", write("/proc/sys/net/ipv4/ip_forward"))
attempt("write_storage", write("/opt/aws/panorama/storage/new"))
attempt("write_logs", write("/opt/aws/panorama/logs/new"))
attempt("write_tmp", write("/tmp/new"))
attempt("write_stdout_by_name", lambda: os.close(os.open("/dev/stdout", os.O_WRONLY)))
attempt("run_from_tmp", run_from_tmp)
attempt("mount", call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
attempt("unmount", call("umount2", b"/proc", 2))
attempt("unshare_user", call("unshare", NEWUSER))
attempt("unshare_mounts", call("unshare", NEWNS))
attempt("unshare_network", call("unshare", NEWNET))
attempt("chroot", call("chroot", b"/tmp"))
attempt("hostname", call("sethostname", b"x", 1))
attempt("mknod", lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(254, 0)))
attempt("setuid", lambda: os.setuid(1))
attempt("setgroups", lambda: os.setgroups([1]))
attempt("trace_init", call("ptrace", 16, 1, 0, 0))
attempt("kill_host", lambda: os.kill(host_pid, 0))
attempt("raw_socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("raise_limit", call("setrlimit", 7, (ctypes.c_ulong * 2)(4096, 4096)))

status = dict(line.split(":", 1) for line in open("/proc/self/status"))
for key in ["CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh", "NoNewPrivs", "Uid"]:
    print("status_" + key, " ".join(status[key].split()))
print("processes", len([name for name in os.listdir("/proc") if name.isdigit()]))
print("interfaces", " ".join(name for _, name in socket.if_nameindex()))
# The listing itself is one more.
print("descriptors", " ".join(sorted(os.listdir("/proc/self/fd"))[:3]), len(os.listdir("/proc/self/fd")))
print("setuid_bits", os.statvfs("/usr").f_flag & os.ST_NOSUID != 0)
