"""Log records in a real journald, which runs in the world."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from koi_agent.core.message_ids import MessageId
from tests.conftest import require
from tests.namespaces import wait_until
from tests.world import World

DAEMON = "/lib/systemd/systemd-journald"
COMMON = """
import asyncio, logging, os, resource, signal, sys
from pathlib import Path
from koi_agent.core.message_ids import MessageId, journal_fields
from koi_agent.host.logs import LogOutput

Path("/proc/self/comm").write_text("koi-test")
"""
CONNECTED = """
# As systemd does for a service, and systemd-cat does not on every release.
stream = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{stream.st_dev}:{stream.st_ino}"
"""
ELSEWHERE = 'os.environ.pop("JOURNAL_STREAM", None)\n'
TALKS = """
with LogOutput(logging.INFO, "auto", os.environ):
    name = "\\x1b[31mred\\nPRIORITY=0"
    extra = journal_fields(MessageId.STARTED, KOI_EVENT="started", KOI_NAME=name)
    logging.info("started %s", name, extra=extra)
    try:
        raise RuntimeError("\\x1b[31mred")
    except RuntimeError:
        logging.exception("it broke")
"""
COUNT = 1000
STOPS = f"""
async def main():
    journald = int(sys.argv[1])
    os.kill(journald, signal.SIGSTOP)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    for number in range({COUNT}):
        logging.info("%d", number)
    waits = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
    os.kill(journald, signal.SIGCONT)
    while not Path(sys.argv[2]).exists():
        await asyncio.sleep(0.02)
    logging.info("waits %d", waits)

with LogOutput(logging.INFO, "auto", os.environ):
    asyncio.run(main())
"""


class Journald:
    """A journald, and programs whose standard error it reads."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._daemon = world.spawn(DAEMON, stderr=subprocess.DEVNULL)
        wait_until(self._path("systemd/journal/stdout").is_socket, "journald listens")

    def _path(self, name: str) -> Path:
        return Path(f"/proc/{self._world.pid}/root/run/{name}")

    def close(self) -> None:
        """End journald, and remove its sockets and records."""
        with self._daemon:
            self._daemon.kill()
        for folder in ("systemd/journal", "log"):
            shutil.rmtree(self._path(folder))

    def spawn(self, program: str, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a Python program with its standard error in the journal."""
        script = self._world.home / "program.py"
        script.write_text(COMMON + program)
        return self._world.spawn("systemd-cat", sys.executable, script, *arguments)

    def pid(self) -> str:
        """Return the PID of journald in the world."""
        return self._world.run("pidof", "systemd-journald").stdout.strip()

    def records(self) -> list[dict[str, Any]]:
        """Return all records of the programs."""
        self._world.run("journalctl", "--sync")
        query = ("journalctl", "--no-pager", "--all", "--output=json", "_COMM=koi-test")
        return [json.loads(line) for line in self._world.run(*query).stdout.splitlines()]


@pytest.fixture
def journald(world: World) -> Iterator[Journald]:
    for program in (DAEMON, "journalctl", "pidof", "systemd-cat"):
        if shutil.which(program) is None:
            require("journald", f"{program} is not installed")
    started = Journald(world)
    yield started
    started.close()


def test_journald_keeps_fields_and_lines_as_they_are(journald: Journald) -> None:
    with journald.spawn(CONNECTED + TALKS) as process:
        assert process.wait(60) == 0
    started, broke = journald.records()
    assert started["_TRANSPORT"] == broke["_TRANSPORT"] == "journal"
    assert started["SYSLOG_IDENTIFIER"] == "koi-runtime"
    assert started["MESSAGE"] == "started \\x1b[31mred\\x0aPRIORITY=0"
    assert (started["PRIORITY"], started["KOI_EVENT"]) == ("6", "started")
    assert (started["MESSAGE_ID"], started["KOI_NAME"]) == (
        MessageId.STARTED,
        "\\x1b[31mred\\x0aPRIORITY=0",
    )
    assert broke["MESSAGE"] == f"it broke\n{broke['EXCEPTION_TEXT']}"
    assert broke["EXCEPTION_TEXT"].endswith("RuntimeError: \\x1b[31mred")
    assert broke["PRIORITY"] == "3"


@pytest.mark.parametrize(("first", "way"), [(CONNECTED, "journal"), (ELSEWHERE, "stdout")])
def test_stopped_journald_blocks_nothing_and_gets_all_records_later(
    world: World, journald: Journald, first: str, way: str
) -> None:
    all_read = world.home / "all-read"
    with journald.spawn(first + STOPS, journald.pid(), all_read) as process:
        wait_until(lambda: len(journald.records()) >= COUNT, "journald reads all", timeout=90)
        all_read.touch()
        assert process.wait(60) == 0
    *records, last = journald.records()
    assert last["_TRANSPORT"] == way
    assert [record["MESSAGE"] for record in records] == [str(number) for number in range(COUNT)]
    assert int(last["MESSAGE"].split()[1]) < COUNT / 10
