"""The units of `packaging/systemd`: systemd takes them, each option has its reason, and what they
leave open is little. The figures are those of `systemd-analyze security`."""

import re
import subprocess
from pathlib import Path

import pytest

from control_plane import ROOT

UNITS = sorted((ROOT / "packaging" / "systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
# Most exposure, of 10. The launcher is root and makes namespaces: it is here to be seen, and to
# fail when it grows.
MOST = {
    "parapet-agent": 2.0,
    "parapet-server": 2.0,
    "parapet-launcher": 8.0,
    "parapet-zones": 6.5,
    "parapet-keys": 2.5,
}


def run(*command, **others):
    """Standard output and error as one text; the exit code beside it."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **others)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A staged tree, by the installer itself."""
    stage = tmp_path_factory.mktemp("stage")
    code, said = run(str(ROOT / "tools" / "install"), "/usr", env=environment(stage), cwd=ROOT)
    assert code == 0, said
    return stage


def environment(stage):
    """For the installer."""
    import os

    return {**os.environ, "DESTDIR": str(stage), "PROFILE": "debug"}


def unit_in(stage, name):
    """Where the installer put a unit."""
    return stage / "etc" / "systemd" / "system" / name


def test_systemd_takes_every_unit(installed, tmp_path):
    """Programs are looked for by their full paths: the copy that is judged names those built."""
    for unit in UNITS:
        text = unit_in(installed, unit.name).read_text(encoding="utf-8")
        text = text.replace("=/usr/bin/parapet", f"={installed}/usr/bin/parapet")
        text = text.replace("=/usr/libexec/", f"={installed}/usr/libexec/")
        text = text.replace("file:/usr/", f"file:{installed}/usr/")
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    for unit in UNITS:
        code, said = run("systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name))
        ours = [line for line in said.splitlines() if "parapet" in line]
        assert code == 0 and not ours, f"{unit.name}: {said}"


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_a_service_leaves_little_open(unit, installed):
    """As `systemd-analyze security` counts."""
    code, said = run(
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        str(unit_in(installed, unit.name)),
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found, f"{code}: {said}"
    print(f"{unit.name}: exposure {found[1]}")
    assert float(found[1]) <= MOST[unit.stem], said


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_each_option_has_its_reason(unit):
    """A comment directly above; only what names other units and the description need none."""
    plain = {"Description", "Documentation", "After", "Before", "WantedBy"}
    before = ""
    for number, line in enumerate(unit.read_text(encoding="utf-8").splitlines(), 1):
        option = re.match(r"([A-Za-z]+)=", line)
        if option and option[1] not in plain:
            assert before.startswith("# "), f"{unit.name}:{number}: {line} has no reason"
        before = line


def test_what_is_installed_finds_its_parts_and_goes_again(installed):
    """The command finds launcher and SDK by their places below the prefix alone."""
    code, said = run(
        str(installed / "usr/bin/parapet"),
        "launcher",
        "--data",
        str(installed / "state"),
        "--config",
        str(installed / "etc/parapet/agent.toml"),
        stdin=subprocess.DEVNULL,
    )
    assert code == 1 and "find a packet socket at descriptor 3" in said, said
    kept = installed / "etc/parapet/agent.toml"
    kept.write_text("# an operator's\n", encoding="utf-8")
    install = str(ROOT / "tools" / "install")
    code, said = run(install, "/usr", env=environment(installed), cwd=ROOT)
    assert code == 0 and kept.read_text(encoding="utf-8") == "# an operator's\n", said
    code, said = run(install, "--uninstall", "/usr", env=environment(installed), cwd=ROOT)
    assert code == 0, said
    left = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    assert left == {"etc/parapet/agent.toml", "etc/parapet/server.toml"}


def test_the_installer_refuses_a_prefix_that_is_no_path():
    """By name."""
    code, said = run(str(ROOT / "tools" / "install"), "usr")
    assert code == 2 and "usr" in said


def test_the_key_is_handed_over_where_the_agent_looks_for_it():
    """By a unit of root's, in memory, through the service manager alone."""
    agent = (ROOT / "packaging/systemd/parapet-agent.service").read_text("utf-8")
    keys = (ROOT / "packaging/systemd/parapet-keys.service").read_text("utf-8")
    written = re.search(r"--device-key (/run/(\S+)/\S+)\n", keys)
    assert f"\nRuntimeDirectory={written[2]}\n" in keys
    name = re.search(r"\nLoadCredential=([^:]+):(.*)\n", agent)
    assert name[2] == written[1]
    assert f"--device-key %d/{name[1]}\n" in agent
    assert "parapet-keys.service" in re.search(r"\nRequires=(.*)\n", agent)[1]
    assert "parapet-keys.service" in re.search(r"\nAfter=(.*)\n", agent)[1]
    data = re.compile(r"--data (\S+)")
    assert data.search(agent)[1] == data.search(keys)[1]


def test_the_agent_and_its_socket_have_the_users_of_the_launcher():
    """One number in three places."""
    source = Path(ROOT / "crates/parapet-sandbox/src/launcher_process.rs").read_text("utf-8")
    base = int(
        re.search(r"pub const ID_BASE: u32 = (0x[0-9a-f_]+);", source)[1].replace("_", ""), 16
    )
    for unit, option in [
        ("parapet-agent.service", "User"),
        ("parapet-agent.service", "Group"),
        ("parapet-launcher.socket", "SocketUser"),
        ("parapet-launcher.socket", "SocketGroup"),
    ]:
        text = (ROOT / "packaging" / "systemd" / unit).read_text(encoding="utf-8")
        assert f"\n{option}={base}\n" in text, f"{unit}: {option} is not {base}"
