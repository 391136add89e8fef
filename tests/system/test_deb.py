"""The Debian package as it is built: the same bytes wherever that is, and lintian is content."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from koi_agent import __version__
from tests.conftest import require
from tests.namespaces import CHECKOUT

BUILT = CHECKOUT / "build/deb"


@pytest.fixture(autouse=True)
def tools() -> None:
    for tool in ("dpkg-buildpackage", "lintian", "unshare"):
        if not shutil.which(tool):
            require("machine", f"there is no {tool}")


def test_lintian_has_no_error_and_no_warning() -> None:
    (changes,) = BUILT.glob("*.changes")
    command = ["lintian", "--allow-root", "--fail-on=error,warning", str(changes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_an_exported_tree_gives_the_same_bytes_without_a_network(tmp_path: Path) -> None:
    tree = tmp_path / "elsewhere"
    shutil.copytree(CHECKOUT / f"build/dist/koi-runtime-{__version__}", tree, symlinks=True)
    (source,) = (CHECKOUT / "build").glob("aiodocker-*[0-9].tar.gz")
    tree.joinpath("build").mkdir()
    shutil.copy(source, tree / "build")
    subprocess.run(
        ["unshare", "--net", "make", "-C", str(tree), "deb"],
        check=True,
        capture_output=True,
        umask=0o077,
        env=os.environ | {"TZ": "Pacific/Auckland", "LC_ALL": "C"},
    )
    assert digests(tree / "build/deb") == digests(BUILT)


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of each built file; the others describe the machine."""
    kinds = (".deb", ".dsc", ".gz", ".xz")
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.suffix in kinds
    }
