"""What ``make install`` puts where, and that the parts of an installation fit each other."""

import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from koi_agent.bus.interfaces import Interface
from koi_agent.publishers.dbus.log_control import LOG_CONTROL_INTERFACE
from tests.unit import interface_files

CHECKOUT = Path(__file__).parents[2]
PACKAGING = CHECKOUT / "packaging"
NAME = "org.sylin.koi.Runtime1"
OWNER = "org.freedesktop.policykit.owner"
PLACES = {
    "bin/koi-runtime",
    "lib/koi-runtime/koi-runtime-gate",
    "lib/koi-runtime/koi-runtime.conf",
    "lib/systemd/catalog/koi-runtime.catalog",
    "lib/systemd/system/koi-runtime-gate@.service",
    "lib/systemd/system/koi-runtime-gate@.socket",
    "lib/systemd/system/koi-runtime-gate@docker.path",
    "lib/systemd/system/koi-runtime-gate@podman.path",
    "lib/systemd/system/koi-runtime.service",
    "lib/systemd/system/koi-runtime.socket",
    "lib/systemd/user/koi-runtime.service",
    "lib/systemd/user/koi-runtime.socket",
    "lib/sysusers.d/koi-runtime.conf",
    "lib/tmpfiles.d/koi-runtime.conf",
    "share/bash-completion/completions/koi-runtime",
    "share/fish/vendor_completions.d/koi-runtime.fish",
    "share/zsh/site-functions/_koi-runtime",
    f"share/dbus-1/interfaces/{NAME}.Backend.xml",
    f"share/dbus-1/interfaces/{NAME}.Instance.xml",
    f"share/dbus-1/interfaces/{NAME}.Manager.xml",
    f"share/dbus-1/services/{NAME}.service",
    f"share/dbus-1/system-services/{NAME}.service",
    f"share/dbus-1/system.d/{NAME}.conf",
    "share/man/man1/koi-runtime.1",
    "share/man/man5/koi-runtime.conf.5",
    "share/man/man5/koi-runtime.metadata.5",
    f"share/man/man5/{NAME}.5",
    "share/man/man8/koi-runtime.service.8",
    f"share/polkit-1/actions/{NAME}.policy",
    "share/polkit-1/rules.d/koi-runtime.rules",
}
PROGRAMS = {"usr/bin/koi-runtime", "usr/lib/koi-runtime/koi-runtime-gate"}
CODE = "lib/koi-runtime/koi_agent"
VENDOR = "lib/koi-runtime/vendor"


def make(target: str, tree: Path, *variables: str) -> None:
    command = ["make", "-C", str(CHECKOUT), target, f"DESTDIR={tree}", *variables]
    subprocess.run(command, check=True, capture_output=True)


def files(tree: Path) -> dict[str, tuple[int, bytes]]:
    """Tell mode and content of every file of a tree."""
    return {
        str(path.relative_to(tree)): (path.stat().st_mode & 0o777, path.read_bytes())
        for path in tree.rglob("*")
        if path.is_file()
    }


def test_all_is_installed_and_nothing_else(tmp_path: Path) -> None:
    make("install", tmp_path)
    installed = files(tmp_path)
    code = {f"usr/{CODE}/{path.relative_to(CHECKOUT / 'koi_agent')}" for path in sources()}
    vendored = {path for path in installed if path.startswith(f"usr/{VENDOR}/aiodocker")}
    assert f"usr/{VENDOR}/aiodocker/py.typed" in vendored
    code |= vendored
    assert set(installed) == code | {f"usr/{place}" for place in PLACES}
    for path, (mode, content) in installed.items():
        assert mode == (0o755 if path in PROGRAMS else 0o644), path
        assert content or path in code, path


def test_installing_twice_is_installing_once_and_old_code_goes(tmp_path: Path) -> None:
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


def sources() -> list[Path]:
    return sorted(CHECKOUT.joinpath("koi_agent").rglob("*.py"))


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


def test_the_user_is_the_same_everywhere() -> None:
    assert "\nUser=_koi-runtime\n" in text("systemd/koi-runtime.service")
    assert re.search(r"^u\s+_koi-runtime\s", text("packaging/koi-runtime.sysusers"), re.MULTILINE)
    assert '<policy user="_koi-runtime">' in text(f"packaging/{NAME}.conf")


def text(path: str) -> str:
    return CHECKOUT.joinpath(path).read_text()
