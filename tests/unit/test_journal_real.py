"""Log records in a real journald, which runs in its own namespaces."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from koi_agent.core.message_ids import MessageId
from tests.conftest import require

CHECKOUT = Path(__file__).parents[2]
JOURNALD = "/lib/systemd/systemd-journald"
SYSTEMD = """
import os

# As systemd says it of a service, and systemd-cat does not on every release.
stream = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{stream.st_dev}:{stream.st_ino}"
"""
ELSEWHERE = """
import os

os.environ.pop("JOURNAL_STREAM", None)
"""
MACHINE = f"""\
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal
{JOURNALD} 2>/dev/null &
journald=$!
for _ in $(seq 100); do
    [ -S /run/systemd/journal/stdout ] && break
    sleep 0.05
done
"$@"
journalctl --sync
journalctl --no-pager --all --output=json _COMM=koi-test
kill "$journald"
"""
TALKS = """
import logging, os, sys, time
from koi_agent.core.message_ids import MessageId, journal_fields
from koi_agent.host.logs import LogOutput

open("/proc/self/comm", "w").write("koi-test")
with LogOutput(logging.INFO, "auto", os.environ):
    name = "\\x1b[31mred\\nPRIORITY=0"
    extra = journal_fields(MessageId.STARTED, KOI_EVENT="started", KOI_NAME=name)
    logging.info("started %s", name, extra=extra)
    try:
        raise RuntimeError("\\x1b[31mred")
    except RuntimeError:
        logging.exception("it broke")
"""
STOPS = """
import logging, os, resource, signal, subprocess, sys, time
from koi_agent.host.logs import LogOutput

open("/proc/self/comm", "w").write("koi-test")
journald = int(subprocess.check_output(["pidof", "systemd-journald"], text=True).split()[0])
with LogOutput(logging.INFO, "auto", os.environ):
    os.kill(journald, signal.SIGSTOP)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    for number in range(1000):
        logging.info("%d", number)
    waits = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
    os.kill(journald, signal.SIGCONT)
    time.sleep(0.5)
    logging.info("waits %d", waits)
"""


@pytest.fixture(autouse=True)
def _needs() -> None:
    if os.geteuid() != 0:
        require("root", "a journald of one's own needs namespaces")
    for program in (JOURNALD, "journalctl", "unshare"):
        if shutil.which(program) is None:
            require("journald", f"{program} is not installed")


def records_of(program: str, folder: Path) -> list[dict[str, Any]]:
    """Run a program with its standard error in the journal; returns its records."""
    script = folder / "program.py"
    script.write_text(program)
    command = ["systemd-cat", sys.executable, str(script)]
    spaces = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    done = subprocess.run(
        [*spaces, "sh", "-c", MACHINE, "sh", *command],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=80,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_journald_keeps_fields_and_lines_as_they_are(tmp_path: Path) -> None:
    started, broke = records_of(SYSTEMD + TALKS, tmp_path)
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


@pytest.mark.parametrize(("first", "way"), [(SYSTEMD, "journal"), (ELSEWHERE, "stdout")])
def test_stopped_journald_blocks_nothing_and_gets_all_records_later(
    tmp_path: Path, first: str, way: str
) -> None:
    *records, last = records_of(first + STOPS, tmp_path)
    assert last["_TRANSPORT"] == way
    assert [record["MESSAGE"] for record in records] == [str(number) for number in range(1000)]
    assert int(last["MESSAGE"].split()[1]) < 100
