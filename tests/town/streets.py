"""The streets of the town: network namespaces and the cables between them.

        net 203.0.113.10            the internet: a canary; .20 a control plane
         |
        rtr 203.0.113.1             uplink router; its bridge is the uplink network
         |  10.77.2.254
         +-- up    10.77.2.66       attacker on the uplink
         +-- a 10.77.2.1  b .2      appliances (uplink port eth0, camera port eth1); c .3 likewise,
         |                          enrolled with a control plane of the internet
         +-- f 10.77.2.4            an appliance with one port for everything, cameras included
         +-- lan 10.77.2.30 .31     cameras on the uplink's own network, for want of another
         +-- naive 10.77.2.9        a host with both networks and forwarding on, no rules: what
         |                          the appliances must not be, and the proof that attempts are real
        cam 10.77.1.11...           cameras; its bridge is the camera network
         +-- bad   10.77.1.66       attacker among the cameras

Everything has IPv6, too: fd77:1:: among the cameras, fd77:2:: on the uplink. All names begin with
one prefix of this run, so that several towns stand beside each other.
"""

import contextlib
import ctypes
import os
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

# A host's last byte, in every network it is in.
HOSTS = {"a": 1, "b": 2, "c": 3, "f": 4, "naive": 9, "lan": 30, "up": 66, "bad": 66}
CAMERAS = range(11, 31)


def run(*words, check=True, **more):
    """Runs a program; its words in the failure."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, **more
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.stdout}")
    return done.stdout


def camera4(host):
    """Of the camera network."""
    return f"10.77.1.{HOSTS.get(host, host)}"


def camera6(host):
    """Of the camera network."""
    return f"fd77:1::{HOSTS.get(host, host)}"


def uplink4(host):
    """Of the uplink network."""
    return f"10.77.2.{HOSTS.get(host, host)}"


def uplink6(host):
    """Of the uplink network."""
    return f"fd77:2::{HOSTS.get(host, host)}"


INTERNET4 = "203.0.113.10"
INTERNET6 = "2001:db8:f::10"
# A control plane's.
PLANE4 = "203.0.113.20"


def mac(host, network):
    """The hardware address of a host's port: network 1 the cameras', 2 the uplink."""
    return bytes([2, 0x77, network, 0, 0, HOSTS[host]])


def colons(address):
    """As `ip link` writes it."""
    return ":".join(f"{byte:02x}" for byte in address)


def _nodad(address):
    return ["nodad"] if ":" in address else []


def enter(path):
    """Moves this thread into a network namespace."""
    with open(path, "rb") as handle:
        if _libc.setns(handle.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"enter {path}")


@dataclass
class Streets:
    """All namespaces of one town."""

    prefix: str
    names: list[str] = field(default_factory=list)

    def path(self, name):
        """The file that names a namespace."""
        return Path("/run/netns") / f"{self.prefix}-{name}"

    def ip(self, name, *words, **more):
        """`ip` in a namespace."""
        return run("ip", "-n", f"{self.prefix}-{name}", *words, **more)

    def nft(self, name, ruleset=None, *words, **more):
        """`nft` in a namespace: a ruleset, or words."""
        inside = ["nsenter", f"--net={self.path(name)}", "nft"]
        if ruleset is None:
            return run(*inside, *words, **more)
        return run(*inside, "-f", "-", input=ruleset, **more)

    @contextlib.contextmanager
    def inside(self, name_or_path):
        """This thread is in a namespace; sockets and processes made here stay in it."""
        path = name_or_path if isinstance(name_or_path, Path) else self.path(name_or_path)
        here = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        with open(here, "rb") as home:
            enter(path)
            try:
                yield
            finally:
                if _libc.setns(home.fileno(), CLONE_NEWNET):
                    os._exit(70)  # In a wrong namespace nothing may go on.

    def add(self, name):
        """A namespace with its loopback up, and nothing that IPv6 does by itself and late."""
        run("ip", "netns", "add", f"{self.prefix}-{name}")
        self.names.append(name)
        for key in ("default", "all"):
            self.sysctl(name, f"net/ipv6/conf/{key}/accept_dad", 0)
        self.ip(name, "link", "set", "lo", "up")

    def sysctl(self, name, key, value):
        """Writes one."""
        with self.inside(name):
            Path("/proc/sys", key).write_text(str(value), encoding="ascii")

    def cable(self, host, port, switch, network, addresses=()):
        """A veth pair: `port` in `host`, `host` on the bridge of `switch`."""
        far = f"{host}-{network}"
        self.ip(
            switch,
            "link",
            "add",
            far,
            "type",
            "veth",
            "peer",
            "name",
            port,
            "netns",
            f"{self.prefix}-{host}",
        )
        self.ip(switch, "link", "set", far, "master", "br0", "up")
        hardware = colons(mac(host, network))
        self.ip(host, "link", "set", port, "address", hardware)
        for address in addresses:
            self.ip(host, "address", "add", address, "dev", port, *_nodad(address))
        if addresses:
            self.ip(host, "link", "set", port, "up")

    def build(self):
        """All of it, without what runs there."""
        for name in ("net", "rtr", "up", "cam", "bad", "a", "b", "c", "f", "naive", "lan"):
            self.add(name)
        for switch in ("rtr", "cam"):
            self.ip(switch, "link", "add", "br0", "type", "bridge", "mcast_snooping", 0)
            self.ip(switch, "link", "set", "br0", "up")
        self.ip("rtr", "address", "add", "10.77.2.254/24", "dev", "br0")
        self.ip("rtr", "address", "add", "fd77:2::254/64", "dev", "br0", "nodad")
        for last in CAMERAS:
            self.ip("cam", "address", "add", f"{camera4(last)}/24", "dev", "br0")
            self.ip("cam", "address", "add", f"{camera6(last)}/64", "dev", "br0", "nodad")
        for host in ("a", "b", "c", "f", "naive", "lan", "up"):
            self.cable(host, "eth0", "rtr", 2, [f"{uplink4(host)}/24", f"{uplink6(host)}/64"])
            self.ip(host, "route", "add", "default", "via", "10.77.2.254")
            self.ip(host, "-6", "route", "add", "default", "via", "fd77:2::254")
        for host in ("naive", "bad"):
            self.cable(host, "eth1", "cam", 1, [f"{camera4(host)}/24", f"{camera6(host)}/64"])
        # The appliances' own: they get their addresses, and come up, by the agent's launcher.
        for host in ("a", "b", "c"):
            self.cable(host, "eth1", "cam", 1)
        self.ip("lan", "address", "add", f"{uplink4(31)}/24", "dev", "eth0")
        self.internet()
        for host in ("naive", "rtr"):
            self.forwarding(host, 1)
        # Whoever is attacked answers through whom the attack came, as in a network with a bridge.
        for host in ("bad", "cam"):
            device = "br0" if host == "cam" else "eth1"
            self.ip(host, "route", "add", "10.77.2.0/24", "via", camera4("naive"))
            self.ip(
                host, "-6", "route", "add", "fd77:2::/64", "via", camera6("naive"), "dev", device
            )
        self.ip("up", "route", "add", "10.77.1.0/24", "via", uplink4("naive"))
        self.ip("up", "-6", "route", "add", "fd77:1::/64", "via", uplink6("naive"))

    def internet(self):
        """A cable of the router's own."""
        self.ip(
            "rtr",
            "link",
            "add",
            "wan",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            f"{self.prefix}-net",
        )
        for host, port, last in (("rtr", "wan", 1), ("net", "eth0", 10)):
            self.ip(host, "address", "add", f"203.0.113.{last}/24", "dev", port)
            self.ip(host, "address", "add", f"2001:db8:f::{last}/64", "dev", port, "nodad")
            self.ip(host, "link", "set", port, "up")
        self.ip("net", "address", "add", f"{PLANE4}/24", "dev", "eth0")
        self.ip("net", "route", "add", "default", "via", "203.0.113.1")
        self.ip("net", "-6", "route", "add", "default", "via", "2001:db8:f::1")
        # Where clouds keep the machine's credentials: this town has one that answers.
        self.ip("net", "address", "add", "169.254.169.254/32", "dev", "lo")
        self.ip("rtr", "route", "add", "169.254.169.254/32", "via", INTERNET4)

    def forwarding(self, host, value):
        """Switches it."""
        self.sysctl(host, "net/ipv4/ip_forward", value)
        self.sysctl(host, "net/ipv6/conf/all/forwarding", value)

    @staticmethod
    def left_over():
        """Run IDs of towns whose run was killed; their streets are removed."""
        dead = set()
        for path in Path("/run/netns").glob("ptown*-*"):
            number = path.name.removeprefix("ptown").split("-")[0]
            if number.isdigit() and not Path("/proc", number).exists():
                run("ip", "netns", "delete", path.name, check=False)
                dead.add(int(number))
        return dead

    def tear_down(self):
        """Everything; what is gone already is fine."""
        for name in self.names:
            run("ip", "netns", "delete", f"{self.prefix}-{name}", check=False)
