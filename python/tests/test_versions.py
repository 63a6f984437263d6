"""The module is read by the Python of whatever image an application brings: 3.6 and later."""

import glob
import os
import subprocess

import pytest

SDK = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "panoramasdk")
PYENV = os.path.expanduser("~/.pyenv/versions")
SCRIPT = """
import sys, types
sys.path.insert(0, sys.argv[1])
sys.modules["numpy"] = None  # an image without NumPy
import panoramasdk
try:
    panoramasdk.node()
except panoramasdk.NodeError as error:
    print(error)
"""


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8", "3.9", "3.10", "3.12", "3.13"])
def test_it_loads_in_other_pythons_even_without_numpy(version):
    found = sorted(glob.glob(os.path.join(PYENV, version + ".*", "bin", "python")))
    if not found:
        pytest.skip("Python {} is not installed".format(version))
    environment = {key: os.environ[key] for key in os.environ if key != "PARAPET_SOCKET"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    result = subprocess.run(
        [found[-1], "-W", "error", "-c", SCRIPT, os.path.dirname(SDK)],
        capture_output=True,
        env=environment,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr.decode()
    assert b"PARAPET_SOCKET is not set" in result.stdout
