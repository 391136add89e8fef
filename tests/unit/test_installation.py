"""``make install`` follows packaging/install.list, and the installed files fit each other."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from koi_agent.bus.interfaces import Interface
from koi_agent.host.incus import SERVERS
from koi_agent.publishers.dbus.log_control import LOG_CONTROL_INTERFACE
from tests.unit import interface_files

# "make install" builds in the checkout: two at the same time would disturb each other.
pytestmark = pytest.mark.one_at_a_time

CHECKOUT = Path(__file__).parents[2]
PACKAGING = CHECKOUT / "packaging"
NAME = "org.sylin.koi.Runtime1"
OWNER = "org.freedesktop.policykit.owner"
CODE = "lib/koi-runtime/koi_agent"
LIST = PACKAGING / "install.list"
AIODOCKER = "aiodocker-0.24.0"
LINK = -1
SHIPPED = (
    "packaging/koi-runtime*",
    f"packaging/{NAME}.*",
    "packaging/man/*",
    "systemd/**/koi-*",
)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of packaging/install.list, with the default values of the variables."""

    mode: int
    """The mode of a file, ``LINK`` for a symbolic link."""
    source: str
    destination: str


def rows(prefix: str = "usr") -> list[Row]:
    code = f"{prefix}/lib/koi-runtime"
    variables = {
        "@PREFIX@": prefix,
        "@CODE@": code,
        "@ZSH@": f"{prefix}/share/zsh/site-functions",
        "@VENDOR@": "build/vendor",
        "@AIODOCKER@": AIODOCKER,
    }
    found = []
    for line in LIST.read_text().splitlines():
        if line and not line.startswith("#"):
            mode, source, destination = line.split()
            for name, value in variables.items():
                source, destination = source.replace(name, value), destination.replace(name, value)
            found.append(Row(LINK if mode == "link" else int(mode, 8), source, destination))
    return found


def expected(prefix: str = "usr") -> dict[str, Row]:
    """Return the row of each file that is installed, by its path."""
    found = {}
    for row in rows(prefix):
        if row.mode == LINK:
            continue
        if row.source.endswith("/"):
            folder = CHECKOUT / row.source
            for path in (*folder.rglob("*.py"), *folder.rglob("py.typed")):
                found[row.destination + str(path.relative_to(folder))] = row
        else:
            found[row.destination] = row
    return found


def make(target: str, tree: Path, *variables: str) -> None:
    command = ["make", "-C", str(CHECKOUT), target, f"DESTDIR={tree}", *variables]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def files(tree: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of every file of a tree."""
    return {
        str(path.relative_to(tree)): (path.stat().st_mode & 0o777, path.read_bytes())
        for path in tree.rglob("*")
        if path.is_file()
    }


def test_the_files_of_the_list_are_installed_and_no_others(tmp_path: Path) -> None:
    make("install", tmp_path)
    installed = files(tmp_path)
    wanted = expected()
    assert installed.keys() == wanted.keys()
    for path, (mode, content) in installed.items():
        assert mode == wanted[path].mode, path
        assert content or wanted[path].source.endswith("/"), path
    links = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*")}
    assert {name: str(path.readlink()) for name, path in links.items() if path.is_symlink()} == {
        row.destination: row.source for row in rows() if row.mode == LINK
    }


def test_the_list_has_every_file_that_ships() -> None:
    sources = {row.source for row in rows()}
    for pattern in SHIPPED:
        for path in filter(Path.is_file, CHECKOUT.glob(pattern)):
            name = str(path.relative_to(CHECKOUT))
            built = f"build/man/{path.stem}" if path.suffix == ".scd" else name
            assert built in sources, name


def test_programs_are_executable_in_the_source_tree() -> None:
    for row in rows():
        if not row.source.startswith(("build/", "/")) and not row.source.endswith("/"):
            executable = os.access(CHECKOUT / row.source, os.X_OK)
            assert executable == bool(row.mode & 0o100), row.source


def test_the_paths_are_listed_for_packages() -> None:
    shown = subprocess.run(
        [
            "make",
            "--silent",
            "--no-print-directory",
            "-C",
            str(CHECKOUT),
            "list",
            "PREFIX=/opt/koi",
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    assert shown.stdout.splitlines() == [row.destination for row in rows("/opt/koi")]


def test_installing_twice_gives_the_same_files_and_removes_old_code(tmp_path: Path) -> None:
    make("install", tmp_path)
    once = files(tmp_path)
    tmp_path.joinpath(f"usr/{CODE}/of_an_older_version.py").touch()
    make("install", tmp_path)
    assert files(tmp_path) == once


def test_uninstalling_leaves_no_file(tmp_path: Path) -> None:
    make("install", tmp_path)
    make("uninstall", tmp_path)
    assert not files(tmp_path)


def test_another_prefix_finds_its_own_command_and_code(tmp_path: Path) -> None:
    make("install", tmp_path, "PREFIX=/opt/koi")
    installed = files(tmp_path)
    assert all(path.startswith("opt/koi/") for path in installed)
    assert b'"/opt/koi/lib/koi-runtime"' in installed["opt/koi/bin/koi-runtime"][1]
    unit = installed["opt/koi/lib/systemd/system/koi-runtime.service"][1]
    assert b"\nExecStart=/opt/koi/bin/koi-runtime run --system\n" in unit


@pytest.mark.parametrize("name", interface_files.files())
def test_interface_files_are_those_of_the_tables(name: str) -> None:
    text = PACKAGING.joinpath(name).read_text()
    assert text == interface_files.files()[name], "make interfaces"


def test_every_action_that_is_asked_for_can_be_allowed_by_polkit() -> None:
    shown = [*interface_files.interfaces(), LOG_CONTROL_INTERFACE]
    asked = {action for interface in shown for action in actions(interface)}
    offered = ET.parse(PACKAGING / f"{NAME}.policy").findall("action")
    assert {action.get("id") for action in offered} == asked
    for action in offered:
        owner = action.find(f"annotate[@key='{OWNER}']")
        assert owner is not None
        assert owner.text == "unix-user:_koi-runtime"


def actions(interface: Interface) -> set[str]:
    of_methods = {method.action for method in interface.methods.values()}
    return {*of_methods, *(prop.action for prop in interface.properties.values())} - {""}


def test_the_bus_starts_the_unit_by_its_alias() -> None:
    (alias,) = re.findall(r"^SystemdService=(.*)$", text(f"packaging/{NAME}.service"), re.MULTILINE)
    for unit in ("systemd/koi-runtime.service", "systemd/user/koi-runtime.service"):
        assert f"\nAlias={alias}\n" in text(unit)
        assert f"\nBusName={NAME}\n" in text(unit)


@pytest.mark.parametrize("name", SERVERS)
def test_the_gate_sees_the_socket_of_a_server_and_none_of_its_files(name: str) -> None:
    drop_in = CHECKOUT / f"systemd/koi-runtime-gate@{name}.service.d/socket.conf"
    hidden = re.findall(r"(?:InaccessiblePaths=| )-(/var/\S+)", drop_in.read_text())
    folders = [path.removesuffix("unix.socket") for path in SERVERS[name]]
    files = {path.removeprefix(folders[0]) for path in hidden if path.startswith(folders[0])}
    assert {"server.key", "cluster.key", "database", "containers", "unix.socket.user"} <= files
    assert sorted(hidden) == sorted(folder + file for folder in folders for file in files)


def test_the_user_is_the_same_everywhere() -> None:
    assert "\nUser=_koi-runtime\n" in text("systemd/koi-runtime.service")
    assert re.search(r"^u\s+_koi-runtime\s", text("packaging/koi-runtime.sysusers"), re.MULTILINE)
    assert '<policy user="_koi-runtime">' in text(f"packaging/{NAME}.conf")


def text(path: str) -> str:
    return CHECKOUT.joinpath(path).read_text()
