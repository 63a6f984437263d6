"""The town: built once for all tests here, torn down whatever happens. See `streets`."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import streets as plan
from appliance import Appliance, camera, id_bases, instance, remove_zone
from hostile import HostileCameras

from control_plane import TARGET

GATE, PASSWORD = "rtsp://10.77.1.11:554/gate", "town-3f90a1c2"
WATCHER = """
import panoramasdk


class Application(panoramasdk.node):
    pass


application = Application()
while True:
    application.inputs.video_in.get()
"""


class Town:
    """Streets, appliances, cameras."""

    def __init__(self, directory):
        self.directory = directory
        self.streets = plan.Streets(f"ptown{os.getpid()}")
        self.a = Appliance(self.streets, "a", directory, 0)
        self.b = Appliance(self.streets, "b", directory, 1)
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
            one.configure(
                '[network]\nuplink = ["eth0"]\ncameras = ["eth1"]\n'
                f'camera_addresses = ["10.77.1.{last}/24", "fd77:1::{last}/64"]'
            )
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

    def camera(self, name, address):
        """A virtual camera among the cameras."""
        password = self.directory / "password"
        password.write_text(PASSWORD, encoding="utf-8")
        with self.streets.inside("cam"):
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
        for one in (self.a, self.b):
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
