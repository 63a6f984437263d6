"""The town: built once for all tests here, torn down whatever happens. See `streets`."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import streets as plan
from appliance import (
    GATE,
    PASSWORD,
    WATCHER,
    Appliance,
    camera,
    id_bases,
    instance,
    remove_zone,
    two_ports,
)
from hostile import HostileCameras

from control_plane import TARGET, start_server, stop_process
from installation import Operator


class Town:
    """Streets, appliances, cameras."""

    def __init__(self, directory):
        self.directory = directory
        self.streets = plan.Streets(f"ptown{os.getpid()}")
        self.a = Appliance(self.streets, "a", directory, 0)
        self.b = Appliance(self.streets, "b", directory, 1)
        # Not started with the town: tests enrol them.
        self.c = Appliance(self.streets, "c", directory, 2)
        self.f = Appliance(self.streets, "f", directory, 3)
        self.cameras = []
        self.hostile = None

    def build(self):
        """Everything, with frames flowing at both appliances."""
        for dead in self.streets.left_over():
            for id_base in id_bases(dead):
                remove_zone(id_base)
        begun = time.monotonic()
        self.streets.build()
        self.camera("gate", "10.77.1.11")
        self.hostile = HostileCameras(self.streets)
        for one in (self.a, self.b):
            last = plan.HOSTS[one.name]
            one.configure(two_ports(last))
            one.secret("secret-gate", "viewer", PASSWORD)
            one.desire([self.watching(one)])
            one.start()
        for one in (self.a, self.b):
            one.wait("frames of the gate", lambda one=one: one.frames("main", "gate") > 5)
        print(f"\nthe town stands after {time.monotonic() - begun:.1f} s")

    @staticmethod
    def watching(one):
        """The instance that every appliance runs: it takes the gate's pictures."""
        gate = camera("gate", GATE, "secret-gate")
        return instance("main", [gate], [one.application({"main.py": WATCHER}, ["gate"])])

    def camera(self, name, address, where="cam"):
        """A virtual camera among the cameras, or elsewhere."""
        password = self.directory / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        with self.streets.inside(where):
            process = subprocess.Popen(
                [
                    TARGET / "debug" / "parapet-virtual-camera",
                    "--listen",
                    f"{address}:554",
                    "--name",
                    name,
                    "--user",
                    "viewer",
                    "--password-file",
                    password,
                    "--size",
                    "320x240",
                    "--fps",
                    "10",
                    "--seconds",
                    "2",
                    "--cache",
                    self.directory / "cache",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self.cameras.append(process)
        said = json.loads(process.stdout.readline())
        assert said["event"] == "listening", said

    def still_watches(self, one, more=20, limit=20.0):
        """The gate's pictures go on coming."""
        before = one.frames("main", "gate")
        one.wait(
            "more pictures of the gate", lambda: one.frames("main", "gate") >= before + more, limit
        )

    def tear_down(self):
        """All of it."""
        for one in (self.a, self.b, self.c, self.f):
            if one.process:
                one.remove()
        if self.hostile:
            self.hostile.end()
        for process in self.cameras:
            process.stdin.close()
            process.kill()
            process.wait()
        self.streets.tear_down()


def why_not():
    """Why there can be no town here; `None` where there can."""
    if os.geteuid():
        return "not root: a town needs network namespaces"
    lacking = [name for name in ("ip", "nft", "nsenter") if not shutil.which(name)]
    if lacking:
        return f"{', '.join(lacking)} not installed: run tools/setup"
    return None


@pytest.fixture(scope="session")
def town(tmp_path_factory):
    """The town."""
    if why := why_not():
        pytest.skip(why)
    directory = tmp_path_factory.mktemp("town")
    # The appliances' users have to pass through.
    for above in [directory, *directory.parents]:
        if above == Path(above.anchor) or above.stat().st_uid:
            break
        above.chmod(above.stat().st_mode | 0o011)
    built = Town(directory)
    try:
        built.build()
        yield built
    finally:
        built.tear_down()


class Plane:
    """A control plane in the internet, beyond the uplink's router."""

    def __init__(self, town, directory):
        self.inside = lambda: town.streets.inside("net")
        self.server = start_server(directory, host=plan.PLANE4, inside=self.inside)
        with self.inside():
            self.known = Operator(self.server)
            self.known.package("watcher", {"main.py": WATCHER}, ["video_in"])

    @contextlib.contextmanager
    def operator(self):
        """Whoever sits beside it: what is called in the block is called from there."""
        with self.inside():
            yield self.known

    def separation(self, device):
        """Level and reasons, as `DescribeDevice` tells them."""
        with self.operator() as operator:
            told = operator.describe_device(device)
        return told.get("NetworkSeparation"), told.get("NetworkSeparationMissing") or []


@pytest.fixture(scope="session")
def plane(town, tmp_path_factory):
    """A real `parapet server`; its appliances reach it through the uplink's router."""
    built = Plane(town, tmp_path_factory.mktemp("plane"))
    yield built
    stop_process(built.server.process)
