"""The date of the release, which manual pages carry on whatever day they are built."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from koi_agent import __version__
from tests.conftest import require
from tests.namespaces import CHECKOUT

RELEASED = "Sat, 03 Feb 2001 02:00:00 +0000"
# makepkg exports the time of the build.
OTHER_DAY = {"SOURCE_DATE_EPOCH": "86400", "PATH": "/usr/bin:/bin", "TZ": "Pacific/Kiritimati"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a source tree whose changelog has a date long ago."""
    for tool in ("make", "scdoc"):
        if shutil.which(tool) is None:
            require(tool, "not installed")
    made = tmp_path / "tree"
    shutil.copytree(CHECKOUT / "packaging", made / "packaging")
    for name in ("Makefile", "koi_agent/__init__.py", "debian/changelog"):
        made.joinpath(name).parent.mkdir(exist_ok=True)
        shutil.copy(CHECKOUT / name, made / name)
    changelog = made / "debian/changelog"
    changelog.write_text(re.sub(r"(?m)^( -- .*>  ).*", rf"\g<1>{RELEASED}", changelog.read_text()))
    return made


def make(tree: Path, *targets: str) -> None:
    done = subprocess.run(
        ["make", "-C", tree, *targets], check=False, capture_output=True, text=True, env=OTHER_DAY
    )
    assert done.returncode == 0, done.stdout + done.stderr


def pages(tree: Path) -> dict[str, bytes]:
    names = [path.stem for path in tree.joinpath("packaging/man").iterdir()]
    make(tree, *(f"build/man/{name}" for name in names))
    return {name: tree.joinpath("build/man", name).read_bytes() for name in names}


def test_manual_pages_carry_the_date_of_the_changelog(tree: Path) -> None:
    for name, page in pages(tree).items():
        assert re.search(rb'^\.TH .*"2001-02-03"', page, re.MULTILINE), name


def test_the_source_archive_gives_the_same_pages_without_the_changelog(tree: Path) -> None:
    make(tree, "dist")
    release = f"koi-runtime-{__version__}"
    subprocess.run(
        ["tar", "-xf", tree / f"build/dist/{release}.tar.gz", "-C", tree.parent], check=True
    )
    assert not (tree.parent / release / "debian").exists()
    assert pages(tree.parent / release) == pages(tree)


def test_a_new_entry_in_the_changelog_builds_the_pages_again(tree: Path) -> None:
    pages(tree)
    changelog = tree / "debian/changelog"
    changelog.write_text(changelog.read_text().replace("03 Feb 2001", "04 Feb 2001"))
    assert all(b'"2001-02-04"' in page for page in pages(tree).values())


def test_the_rpm_has_the_date_of_the_changelog() -> None:
    changelog = CHECKOUT.joinpath("debian/changelog").read_text()
    (debian,) = re.findall(r"^ -- .*>  (\w+), (\d+) (\w+) (\d+) ", changelog, re.MULTILINE)[:1]
    spec = CHECKOUT.joinpath("packaging/rpm/koi-runtime.spec").read_text()
    (rpm,) = re.findall(r"^\* (\w+) (\w+) (\d+) (\d+) ", spec, re.MULTILINE)[:1]
    weekday, day, month, year = debian
    assert rpm == (weekday, month, day, year)
