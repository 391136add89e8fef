"""The manual pages and the code name the same options, keys, members, fields and paths."""

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
from koi_agent.cli.parser import parser
from koi_agent.cli.syntax import COMMANDS
from koi_agent.core.metadata.keys import KEYS
from tests.conftest import require
from tests.namespaces import CHECKOUT
from tests.unit import interface_files

PAGES = sorted((CHECKOUT / "packaging/man").glob("*.scd"))
API = "org.sylin.koi.Runtime1"
INTERFACES = ("Manager", "Instance", "Backend")
SIGNALS = {
    Emits.TRUE: "",
    Emits.INVALIDATES: "invalidation",
    Emits.CONST: "constant",
    Emits.FALSE: "no change signal",
}
"""The words for the change signal in the paragraph of a property."""


def page(name: str) -> str:
    return (CHECKOUT / f"packaging/man/{name}.scd").read_text()


def bold(text: str, pattern: str) -> set[str]:
    """Return the words in bold type that match a pattern."""
    return {found for found in re.findall(r"\*([^*\n]+)\*", text) if re.fullmatch(pattern, found)}


def heads(text: str) -> str:
    """Return the headings of definitions: bold lines with an indented line below."""
    lines = text.splitlines()
    return "\n".join(
        line for line, below in pairwise(lines) if below.startswith("\t") and line[:1] == "*"
    )


def section(text: str, title: str) -> str:
    """Return one section of a page."""
    _, _, rest = text.partition(f"\n# {title}\n")
    assert rest, title
    return rest.partition("\n# ")[0]


def parsers() -> Iterator[ArgumentParser]:
    made: Any = parser()
    yield made
    (rows,) = [action for action in made._actions if isinstance(action.choices, dict)]
    yield from rows.choices.values()


def test_every_command_and_option_is_in_the_manual_and_no_other() -> None:
    text = heads(page("koi-runtime.1"))
    named = {command.name for command in COMMANDS}
    assert bold(section(page("koi-runtime.1"), "COMMANDS"), "[a-z-]+") == named
    options = {
        option for one in parsers() for action in one._actions for option in action.option_strings
    }
    assert bold(text, "--?[a-z-]+") == options


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
    """Return the type of each property that heads a paragraph, and the paragraph's signal."""
    found: dict[str, tuple[str, str]] = {}
    for paragraph in re.split(r"\n\n(?=\*)", text):
        head, _, body = paragraph.strip().partition("\n")
        words = " ".join(body.split())
        signal = next((phrase for phrase in SIGNALS.values() if phrase and phrase in words), "")
        for name, signature in re.findall(r"\*(\w+)\* \(([a-z{}()]+)\)", head):
            found[name] = (signature, signal)
    return found


def test_every_error_of_the_bus_is_in_the_manual() -> None:
    raised = spelled("publishers/dbus", r'f"\{NAME\}\.([A-Z]\w+)"')
    assert raised
    assert {name for name in raised if f"{API}.{name}\n" not in page(f"{API}.5")} == set()


def test_every_path_and_metric_of_http_is_in_the_manual() -> None:
    text = page("koi-runtime.service.8").replace("\\", "")
    paths = spelled("publishers/http", r'"(/[a-z0-9./_{}-]{3,})"')
    metrics = spelled("publishers/http", r'"(koi_[a-z_]+)"')
    assert paths >= {"/openapi.json", "/metrics"}
    assert "koi_drift" in metrics
    assert {name for name in paths | metrics if name not in text} == set()


def test_every_variable_and_field_of_a_record_is_in_the_manual() -> None:
    names = spelled(".", r"\b(KOI_[A-Z_]+)\b")
    assert names >= {"KOI_RUNTIME", "KOI_INSTANCE"}
    pages = "".join(path.read_text() for path in PAGES)
    assert {name for name in names if f"_{name}_" not in pages} == set()


def test_every_message_id_is_in_the_manual_and_no_other() -> None:
    catalog = CHECKOUT.joinpath("packaging/koi-runtime.catalog").read_text()
    known = set(re.findall("^-- ([0-9a-f]{32})$", catalog, re.MULTILINE))
    assert set(re.findall("[0-9a-f]{32}", page("koi-runtime.service.8"))) == known


def spelled(folder: str, pattern: str) -> set[str]:
    """Return what the code of a folder contains in the group of a pattern."""
    files = (CHECKOUT / "koi_agent" / folder).rglob("*.py")
    return {found for file in files for found in re.findall(pattern, file.read_text())}


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
    for name, number in re.findall(
        r"\*((?:koi|org\.sylin)[A-Za-z0-9.-]+)\*\(([1-8])\)", path.read_text()
    ):
        assert f"{name}.{number}" in ours
