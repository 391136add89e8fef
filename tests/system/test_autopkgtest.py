"""Debian's own runner and its newest suite: the tests of debian/tests/control, one machine."""

import re
import shutil

import pytest

from tests.conftest import require
from tests.machine import booted, missing
from tests.namespaces import CHECKOUT
from tests.system.package import PLACE, built

TREE = "/srv/source"
# The machine is one, and is thrown away after it.
IGNORED = "isolation-machine,isolation-container,breaks-testbed"
TESTS = ("unit", "smoke", "service", "dns")
"""Those of engines and of announcements are run by the machines of the other suites."""
LONGEST = 2700
"""Seconds after which the run counts as stuck; a busy machine needs half of them."""


@pytest.mark.timeout(LONGEST + 300)
def test_its_tests_pass_on_the_newest_suite() -> None:
    if lacks := missing():
        require("machine", lacks)
    (source,) = (CHECKOUT / "build/deb").glob("koi-runtime-*")
    with booted("forky") as machine:
        newest = machine.run("python3", "-c", "import sys; print(sys.version_info >= (3, 14))")
        assert newest.stdout.strip() == "True"
        machine.path(PLACE).write_bytes(built().read_bytes())
        shutil.copytree(source, machine.path(TREE), symlinks=True)
        tests = [f"--test-name={name}" for name in TESTS]
        options = (f"--ignore-restrictions={IGNORED}", "--no-built-binaries", *tests)
        command = ("autopkgtest", *options, PLACE, f"{TREE}/", "--", "null")
        done = machine.run("env", "-C", "/srv", *command, check=False, timeout=LONGEST)
    said = done.stdout + done.stderr
    found = set(re.findall(r"^(\S+) +PASS$", said, re.MULTILINE))
    failures = "\n".join(re.findall(r"^(?:E  |FAILED|ERROR).*", said, re.MULTILINE))
    assert found == set(TESTS), f"{failures}\n{said[-4000:]}"
