"""The manual holds what the code knows: every option, key and member, and none that is not."""

import re
import shutil
import subprocess
from argparse import ArgumentParser
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from koi_agent.bus.interfaces import Emits
from koi_agent.cli.arguments import parser
from koi_agent.cli.commands import commands
from koi_agent.config.keys import KEYS as SETTINGS
from koi_agent.core.metadata.keys import KEYS
from tests.conftest import require
from tests.machine import CHECKOUT
from tests.unit import interface_files

PAGES = sorted((CHECKOUT / "packaging/man").glob("*.scd"))
API = "org.sylin.koi.Runtime1"
INTERFACES = ("Manager", "Instance", "Backend")
SIGNALS = {
    Emits.TRUE: "",
    Emits.INVALIDATES: "invalidates",
    Emits.CONST: "const",
    Emits.FALSE: "no signal",
}
"""What the manual says of a property's change signal."""


def page(name: str) -> str:
    return (CHECKOUT / f"packaging/man/{name}.scd").read_text()


def bold(text: str, pattern: str) -> set[str]:
    """Find what is set in bold type and looks so."""
    return {found for found in re.findall(r"\*([^*\n]+)\*", text) if re.fullmatch(pattern, found)}


def heads(text: str) -> str:
    """Take the lines that say what a paragraph below them is about."""
    lines = text.splitlines()
    return "\n".join(
        line for line, below in pairwise(lines) if below.startswith("\t") and line[:1] == "*"
    )


def section(text: str, title: str) -> str:
    """Take one section of a page."""
    _, _, rest = text.partition(f"\n# {title}\n")
    assert rest, title
    return rest.partition("\n# ")[0]


def parsers() -> Iterator[ArgumentParser]:
    made: Any = parser(commands(lambda *_: 0), "list")
    yield made
    (rows,) = [action for action in made._actions if isinstance(action.choices, dict)]
    yield from rows.choices.values()


def test_every_command_and_option_is_in_the_manual_and_no_other() -> None:
    text = heads(page("koi-runtime.1"))
    named = {command.name for command in commands(lambda *_: 0)}
    assert bold(section(page("koi-runtime.1"), "COMMANDS"), "[a-z-]+") == named
    options = {
        option for one in parsers() for action in one._actions for option in action.option_strings
    }
    assert bold(text, "--?[a-z-]+") == options


def test_every_setting_is_in_its_section_and_no_other() -> None:
    text = page("koi-runtime.conf.5")
    for name in {row.section for row in SETTINGS}:
        known = {f"{row.key}=" for row in SETTINGS if row.section == name}
        assert bold(heads(section(text, f"[{name.upper()}] SECTION")), "[A-Za-z]+=") == known
    assert len(re.findall(r"\] SECTION", text)) == len({row.section for row in SETTINGS})


def test_every_default_is_told() -> None:
    text = page("koi-runtime.conf.5").replace("\\", "").replace("_", "")
    for row in SETTINGS:
        for word in row.default.replace("_", "").split():
            assert word in text, f"{row.key}={word}"


def test_every_metadata_key_is_in_the_manual_and_no_other() -> None:
    keys = {f"koi.{key.name}" for key in KEYS}
    assert bold(heads(page("koi-runtime.metadata.5")), r"koi\.[a-z.<>]+") == keys


def test_every_member_of_the_bus_is_in_the_manual_and_no_other() -> None:
    members: set[str] = set()
    for name in INTERFACES:
        file = CHECKOUT / f"packaging/{API}.{name}.xml"
        (interface,) = ET.parse(file).getroot().iter("interface")
        members |= {member.get("name", "") for member in interface if member.tag != "annotation"}
    assert bold(heads(page(f"{API}.5")), "[A-Z][A-Za-z]+") == members


@pytest.mark.parametrize("name", INTERFACES)
def test_every_property_is_in_the_manual_with_its_type_and_signal(name: str) -> None:
    documented = properties(section(page(f"{API}.5"), f"{name.upper()}: PROPERTIES"))
    (interface,) = [each for each in interface_files.interfaces() if each.name.endswith(name)]
    assert documented == {
        prop.name: (prop.signature, SIGNALS[prop.emits]) for prop in interface.properties.values()
    }


def properties(text: str) -> dict[str, tuple[str, str]]:
    """Return type and change signal of each property that heads a paragraph."""
    found: dict[str, tuple[str, str]] = {}
    for group in re.finditer(r"((?:\*\w+\*,? )+)\(([a-z{}]+)(?:, ([a-z ]+))?\)", heads(text)):
        names, signature, signal = group.groups("")
        found |= dict.fromkeys(re.findall(r"\w+", names), (signature, signal))
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_is_rendered_without_a_warning(path: Path, tmp_path: Path) -> None:
    for tool in ("scdoc", "man"):
        if shutil.which(tool) is None:
            require(tool, "not installed")
    made = subprocess.run(
        ["scdoc"], input=path.read_bytes(), capture_output=True, check=False, timeout=20
    )
    assert made.returncode == 0, made.stderr
    file = tmp_path / path.stem
    file.write_bytes(made.stdout)
    shown = subprocess.run(
        ["man", "-l", "--warnings", "-E", "UTF-8", str(file)],
        env={"LC_ALL": "C.UTF-8", "MANWIDTH": "80", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"SEE ALSO" in shown.stdout or b"EXAMPLES" in shown.stdout


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_what_a_page_refers_to_is_there(path: Path) -> None:
    ours = {page.stem for page in PAGES}
    for name, number in re.findall(r"\*((?:koi|org)[A-Za-z0-9.-]+)\*\(([1-8])\)", path.read_text()):
        assert f"{name}.{number}" in ours
