"""The import contracts hold over the whole package: a library import outside its door fails."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
LIBRARIES = ("aiodocker", "aiohttp", "dbus_next", "dns", "sdnotify", "systemd", "yaml")
PROBED = (
    "agent.py",
    "announce/feed.py",
    "cli/table.py",
    "follow/follower.py",
    "host/cgroups.py",
    "publishers/journal.py",
    "services/gate/engine/requests.py",
    "services/handover/breadcrumb.py",
    "services/hook/server.py",
)


@pytest.mark.timeout(300)
def test_library_imports_outside_their_doors_break_their_contracts(tmp_path: Path) -> None:
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    shutil.copytree(
        CHECKOUT / "koi_agent",
        tmp_path / "koi_agent",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    assert "0 broken" in contracts(tmp_path)
    for name in PROBED:
        probed = tmp_path / "koi_agent" / name
        before = probed.read_text()
        probed.write_text(f"{before}\nimport {', '.join(LIBRARIES)}\n")
        found = contracts(tmp_path)
        module = f"koi_agent.{name.removesuffix('.py').replace('/', '.')}"
        passing = [library for library in LIBRARIES if f"{module} -> {library} (" not in found]
        assert not passing, f"{name} may import {passing}"
        probed.write_text(before)


def contracts(folder: Path) -> str:
    """Return what import-linter reports about the package in a folder."""
    tool = Path(sys.executable).with_name("lint-imports")
    command = [str(tool), "--no-cache", "--config", "pyproject.toml"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    return done.stdout
