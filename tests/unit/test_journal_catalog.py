"""The catalog that is installed, compiled and shown by the real journalctl."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from koi_agent.core.message_ids import MessageId
from tests.conftest import require

CATALOG = Path(__file__).parents[2] / "packaging" / "koi-runtime.catalog"
HEADERS = ["Subject", "Defined-By", "Documentation"]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A root folder with our catalog, compiled."""
    if shutil.which("journalctl") is None:
        require("journalctl", "not installed")
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    shutil.copy(CATALOG, folder)
    said = journalctl(tmp_path, "--update-catalog")
    assert said == "", "journalctl complains of the catalog"
    return tmp_path


def journalctl(root: Path, *arguments: str) -> str:
    """Return journalctl's listing of a root folder's catalog."""
    done = subprocess.run(
        ["journalctl", f"--root={root}", "--no-pager", *arguments],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.stdout


def test_every_kind_of_record_is_explained_and_nothing_else(installed: Path) -> None:
    listed = [line.split()[0] for line in journalctl(installed, "--list-catalog").splitlines()]
    assert sorted(listed) == sorted(MessageId)


def test_each_entry_has_its_headers_and_a_text(installed: Path) -> None:
    entries = journalctl(installed, "--dump-catalog").split("\n-- ")
    assert len(entries) == len(MessageId)
    for entry in entries:
        head, _, text = entry.strip().partition("\n\n")
        assert [line.split(":")[0] for line in head.splitlines()[1:]] == HEADERS
        assert text.endswith((".", '".')), head


def test_lines_fit_and_name_only_fields_that_records_have() -> None:
    text = CATALOG.read_text(encoding="ascii")
    assert max(map(len, text.splitlines())) <= 76
    known = {"KOI_INSTANCE", "KOI_NAME", "KOI_BACKEND", "KOI_LOST"}
    assert set(re.findall("@(.*?)@", text)) == known
