"""The packages for Fedora and for Arch bring what Debian's does."""

import gzip
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from koi_agent import __version__
from tests.conftest import require
from tests.namespaces import CHECKOUT
from tests.system.package import built

# What is each distribution's own: documents and licences, compiled code (Debian compiles as it
# installs) and files for Debian's own tools.
OWN = re.compile(r"/(doc|licenses|lintian|python3|__pycache__)/|/LICENSE$")
# Where Debian looks for what others have elsewhere.
ZSH = ("zsh/vendor-completions", "zsh/site-functions")
VERSIONS = {
    "debian/changelog": r"^koi-runtime \((.+)-\d+\)",
    "packaging/rpm/koi-runtime.spec": r"^Version: +(.+)$",
    "packaging/arch/PKGBUILD": r"^pkgver=(.+)$",
}


def files(tree: Path) -> dict[str, tuple[int, str]]:
    """Return mode and digest of each file below /usr, of man pages before compression."""
    found = {}
    for path in tree.joinpath("usr").rglob("*"):
        name = str(path.relative_to(tree)).replace(*ZSH)
        if path.is_file() and not OWN.search(name):
            content = path.read_bytes()
            if name.endswith(".gz"):
                name, content = name.removesuffix(".gz"), gzip.decompress(content)
            found[name] = (path.stat().st_mode & 0o7777, hashlib.sha256(content).hexdigest())
    return found


@pytest.mark.parametrize(
    ("target", "runtime", "tool", "package"),
    [
        ("rpm", "rpm", "rpmbuild", "build/rpm/RPMS/noarch/koi-runtime-*.rpm"),
        ("arch", "makepkg", "makepkg", "build/arch/koi-runtime-*.pkg.tar*"),
    ],
)
def test_it_brings_what_debians_does(
    tmp_path: Path, target: str, runtime: str, tool: str, package: str
) -> None:
    if lacks := [name for name in (tool, "bsdtar") if not shutil.which(name)]:
        require(runtime, f"there is no {lacks[0]}")
    debian, other = tmp_path / "debian", tmp_path / "other"
    other.mkdir()
    run("dpkg-deb", "-x", str(built()), str(debian))
    run("make", target)
    (made,) = CHECKOUT.glob(package)
    run("bsdtar", "-xpf", str(made), "-C", str(other))
    assert files(other) == files(debian)


def run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=CHECKOUT)
    assert not done.returncode, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"


def test_all_have_the_version_of_the_program() -> None:
    texts = {path: CHECKOUT.joinpath(path).read_text() for path in VERSIONS}
    found = {path: re.findall(VERSIONS[path], texts[path], re.MULTILINE)[0] for path in VERSIONS}
    assert found == dict.fromkeys(VERSIONS, __version__)
