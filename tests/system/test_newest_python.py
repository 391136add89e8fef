"""The tests that need no systemd, on the newest Python that Debian has."""

from collections.abc import Iterator

import pytest

from tests.conftest import require
from tests.machine import COPY, Machine, booted, missing


@pytest.fixture(scope="module")
def newest() -> Iterator[Machine]:
    """A machine whose Python, pytest and libraries are Debian's newest."""
    if lacks := missing():
        require("machine", lacks)
    with booted("forky") as machine:
        yield machine


@pytest.mark.parametrize("folder", ["unit", "bus", "runtimes"])
def test_they_pass(newest: Machine, folder: str) -> None:
    version = newest.run("python3", "-c", "import sys; print(sys.version_info >= (3, 14))")
    assert version.stdout.strip() == "True"
    command = ("python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{folder}")
    vendor = f"PYTHONPATH={COPY}/build/vendor"  # aiodocker is not Debian's
    done = newest.run("env", "-C", COPY, vendor, *command, check=False, timeout=400)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
