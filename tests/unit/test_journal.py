"""Log records as journald gets them, from a real datagram socket."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from struct import unpack

import pytest

from koi_agent.core.errors import BadInput
from koi_agent.core.events import BackendDisconnected, Started, Stopped, Updated
from koi_agent.core.instance import KoiMetadata, Refusal
from koi_agent.core.message_ids import LEVELS, MessageId, journal_fields
from koi_agent.host import log_queue
from koi_agent.host.journal import Journal
from koi_agent.host.log_queue import LogQueue
from koi_agent.host.logs import LAST_WORDS, LogOutput
from koi_agent.publishers.journal import JournalPublisher
from tests.costs import used
from tests.unit.things import unit

log = logging.getLogger("koi_agent.somewhere")
QUEUE = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 1
"""Records that wait in the kernel for a journald that does not read."""


class Journald:
    """A journald that reads on request of a test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start()

    def start(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(self.path))

    def stop(self) -> None:
        self._socket.close()
        self.path.unlink()

    def read(self) -> list[dict[str, str]]:
        """Return all records that wait, as fields."""
        records = []
        while True:
            try:
                records.append(fields(self._socket.recv(2**20)))
            except BlockingIOError:
                return records

    def only(self) -> dict[str, str]:
        """Return the only record that waits."""
        (record,) = self.read()
        return record


def fields(datagram: bytes) -> dict[str, str]:
    """Parse a record by the protocol; no field may occur twice."""
    found: dict[str, str] = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = unpack("<Q", datagram[:8])
            value, datagram = datagram[8 : 8 + length], datagram[8 + length :]
            assert datagram[:1] == b"\n"
            datagram = datagram[1:]
        assert name.decode() not in found
        found[name.decode()] = value.decode()
    return found


def raised(text: str) -> Exception:
    """Return an error that was raised."""
    with pytest.raises(RuntimeError) as found:
        raise RuntimeError(text)
    return found.value


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    """A fake journald on its socket."""
    far_end = Journald(tmp_path / "socket")
    yield far_end
    far_end.stop()


@pytest.fixture
def output(journald: Journald) -> Iterator[LogOutput]:
    """The log output to the fake journald, at level info."""
    with LogOutput(logging.INFO, "journal", {}, journal=str(journald.path)) as made:
        yield made


async def read_until(
    journald: Journald, is_complete: Callable[[list[dict[str, str]]], bool]
) -> list[dict[str, str]]:
    """Read until the records are complete."""
    records = journald.read()
    async with asyncio.timeout(60):
        while not is_complete(records):
            await asyncio.sleep(0.01)
            records += journald.read()
    return records


def message(record: dict[str, str]) -> str:
    return record["MESSAGE"]


def is_loss(record: dict[str, str]) -> bool:
    """Return True for the record that counts lost ones."""
    return record.get("MESSAGE_ID") == MessageId.RECORDS_LOST


def has_loss(records: list[dict[str, str]]) -> bool:
    """Return True if the last record is that of a loss."""
    return any(map(is_loss, records[-1:]))


# What a record says


@pytest.mark.usefixtures("output")
def test_plain_record_has_only_the_fields_that_a_journal_needs(journald: Journald) -> None:
    log.info("ready: %d instances", 3)
    assert journald.only() == {
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "koi-runtime",
        "MESSAGE": "ready: 3 instances",
    }


@pytest.mark.usefixtures("output")
@pytest.mark.parametrize(
    ("level", "priority"), [(50, "2"), (40, "3"), (30, "4"), (25, "5"), (20, "6"), (33, "4")]
)
def test_levels_are_those_of_syslog(journald: Journald, level: int, priority: str) -> None:
    log.log(level, "x")
    assert journald.only()["PRIORITY"] == priority


def test_warnings_and_debug_records_have_their_place_in_the_code(
    output: LogOutput, journald: Journald
) -> None:
    output.level = "debug"
    for level in (logging.WARNING, logging.DEBUG):
        log.log(level, "x")
        record = journald.only()
        assert record["CODE_FILE"] == __file__
        assert record["CODE_FUNC"].startswith("test_warnings")
        assert int(record["CODE_LINE"]) > 100


@pytest.mark.usefixtures("output")
def test_call_sets_only_fields_with_known_names(journald: Journald) -> None:
    known = {
        "KOI_EVENT": "started",
        "CONTAINER_NAME": "web",
        "ERRNO": 13,
        "MESSAGE_ID": MessageId.READY,
    }
    refused = {"_PID": 1, "koi_x": 1, "PRIORITY": 0, "KOI_": 1, "KOI_A\nB": 1, "KOI_" + "X" * 61: 1}
    log.info("x", extra={"koi": known | refused})
    assert journald.only().keys() - known.keys() == {"PRIORITY", "SYSLOG_IDENTIFIER", "MESSAGE"}
    log.info("x", extra={"koi": "no fields"})
    assert "KOI_EVENT" not in journald.only()


@pytest.mark.usefixtures("output")
def test_escape_sequences_and_newlines_of_others_are_escaped(journald: Journald) -> None:
    name = "\x1b]0;x\x07\nPRIORITY=0\n\udcff"
    log.info("started %s", name, extra=journal_fields(MessageId.STARTED, KOI_NAME=name))
    record = journald.only()
    assert record["MESSAGE"] == "started \\x1b]0;x\\x07\\x0aPRIORITY=0\\x0a\\udcff"
    assert record["KOI_NAME"] in record["MESSAGE"]
    assert record["PRIORITY"] == "6"


@pytest.mark.usefixtures("output")
def test_traceback_is_in_the_message_and_in_a_field_and_printable(
    journald: Journald,
) -> None:
    log.error("it broke", exc_info=raised("\x1b[31m\rred"))
    record = journald.only()
    assert record["MESSAGE"] == "it broke\n" + record["EXCEPTION_TEXT"]
    assert record["EXCEPTION_TEXT"].startswith("Traceback (most recent call last):\n")
    assert record["EXCEPTION_TEXT"].endswith("RuntimeError: \\x1b[31m\\x0dred")


@pytest.mark.usefixtures("output")
@pytest.mark.parametrize("text", ["é" * 10**6, "\x00" * 10**6, "a\n" * 10**6])
def test_huge_record_is_truncated(journald: Journald, text: str) -> None:
    log.error(
        "%s", text, exc_info=raised(text), extra=journal_fields(MessageId.BUS_LOST, KOI_NAME=text)
    )
    assert len(journald.only()["EXCEPTION_TEXT"].encode()) <= 48 * 1024


def test_record_that_cannot_be_formatted_is_logged_once(
    journald: Journald, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of pytest raise for one
    with LogOutput(logging.INFO, "journal", {}, journal=str(journald.path)):
        for _ in range(3):
            log.info("%d", "no number")
        log.info("next")
    first, second = journald.read()
    assert "can't be formatted: TypeError" in first["MESSAGE"]
    assert __file__ in first["MESSAGE"]
    assert second["MESSAGE"] == "next"


# Events


def test_events_are_records_with_message_ids(output: LogOutput, journald: Journald) -> None:
    web = unit("web.service")
    output.level = "debug"
    JournalPublisher().publish(
        [Started(web), Updated(web, web), Stopped(web, "gone"), BackendDisconnected("docker", "x")]
    )
    records = journald.read()
    events = ["started", "updated", "stopped", "disconnected"]
    assert [record["KOI_EVENT"] for record in records] == events
    kinds = [MessageId.STARTED, MessageId.UPDATED, MessageId.STOPPED, MessageId.DISCONNECTED]
    assert [record["MESSAGE_ID"] for record in records] == kinds
    assert [record["PRIORITY"] for record in records] == ["6", "7", "6", "4"]
    about = {key: value for key, value in records[0].items() if key.startswith("KOI_")}
    assert about == {
        "KOI_EVENT": "started",
        "KOI_BACKEND": "systemd",
        "KOI_INSTANCE": "systemd:web.service",
        "KOI_NAME": "web",
        "KOI_UNIT": "web.service",
    }
    assert records[3]["KOI_BACKEND"] == "docker"


def test_refused_metadata_is_logged_once_a_run(output: LogOutput, journald: Journald) -> None:
    refused = (Refusal(key="koi.port", reason="'0' is not a port number"),)
    web = replace(unit("web.service"), metadata=KoiMetadata(refused=refused))
    again = replace(web, metadata=KoiMetadata(name="a", refused=refused))
    JournalPublisher().publish([Started(web), Updated(web, again), Stopped(again, "gone")])
    records = [one for one in journald.read() if one["KOI_EVENT"] == "refused"]
    assert [one["MESSAGE"] for one in records] == [
        "systemd:web.service: koi.port refused: '0' is not a port number"
    ]
    assert (records[0]["MESSAGE_ID"], records[0]["PRIORITY"]) == (MessageId.REFUSED, "4")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(("count", "logged"), [(9, 9), (10, 10), (11, 11), (1000, 11)])
def test_many_refusals_of_an_instance_are_few_records(
    caplog: pytest.LogCaptureFixture, count: int, logged: int
) -> None:
    refused = tuple(Refusal(key=f"koi.a{n}", reason="unknown key") for n in range(count))
    web = replace(unit("web.service"), metadata=KoiMetadata(refused=refused))
    JournalPublisher().publish([Started(web)])
    records = warnings(caplog)
    assert len(records) == logged
    assert records[0] == "systemd:web.service: koi.a0 refused: unknown key"
    more = f"systemd:web.service: {count - 10} more: koi-runtime explain web"
    assert (records[-1] == more) is (count > 10)


def test_only_refusals_that_an_update_adds_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    refused = tuple(Refusal(key=f"koi.a{n}", reason="unknown key") for n in range(100))
    web = replace(unit("web.service"), metadata=KoiMetadata(refused=refused[:95]))
    JournalPublisher().publish([Updated(web, replace(web, metadata=KoiMetadata(refused=refused)))])
    assert [record.split()[1] for record in warnings(caplog)] == [one.key for one in refused[95:]]


# A journald in trouble


@pytest.mark.usefixtures("output")
async def test_journald_that_does_not_read_blocks_nothing_and_lost_records_are_counted(
    journald: Journald,
) -> None:
    asyncio.get_running_loop().slow_callback_duration = 60  # or the loop adds a record
    count = QUEUE + 2 * log_queue.COUNT_LIMIT
    with used() as use:
        for number in range(count):
            log.info("%d", number)
    assert use.waits < count / 10
    *records, loss = await read_until(journald, has_loss)
    assert [record["MESSAGE"] for record in records] == [str(n) for n in range(len(records))]
    assert len(records) >= log_queue.COUNT_LIMIT
    assert int(loss["KOI_LOST"]) == count - len(records)
    log.info("next")
    assert journald.only()["MESSAGE"] == "next"


@pytest.mark.usefixtures("output")
async def test_loss_is_logged_where_it_was(journald: Journald) -> None:
    asyncio.get_running_loop().slow_callback_duration = 60  # or the loop adds a record
    for _ in range(QUEUE + log_queue.COUNT_LIMIT + 50):
        log.info("before")
    records = journald.read()
    log.info("also lost")
    records += await read_until(journald, has_loss)
    log.info("after")
    records += await read_until(journald, lambda some: "after" in map(message, some))
    kinds = ["loss" if is_loss(record) else message(record) for record in records]
    at = kinds.index("loss")
    assert set(kinds[:at]) == {"before"}
    assert kinds[at + 1 :] == ["after"]


def test_record_too_large_for_a_datagram_does_not_hold_up_others(journald: Journald) -> None:
    with closing(Journal(str(journald.path))) as journal:
        queue = LogQueue(journal.send, lambda count: b"MESSAGE=%d lost\n" % count)
        queue.put(b"MESSAGE=" + b"x" * 900_000 + b"\n")
        queue.put(b"MESSAGE=next\n")
    assert list(map(message, journald.read())) == ["1 lost", "next"]


@pytest.mark.usefixtures("output")
async def test_large_records_are_kept_up_to_a_limit(journald: Journald) -> None:
    asyncio.get_running_loop().slow_callback_duration = 60  # or the loop adds a record
    text = "x" * 4000
    for _ in range(1000):
        log.info(text)
    sent = journald.read()  # the kernel's queue: its bounds are in records and in bytes
    *kept, loss = await read_until(journald, has_loss)
    assert log_queue.SIZE_LIMIT * 0.8 < len(kept) * len(text) <= log_queue.SIZE_LIMIT
    assert len(sent) + len(kept) + int(loss["KOI_LOST"]) == 1000


@pytest.mark.usefixtures("output")
async def test_journald_that_restarts_gets_what_was_logged_meanwhile_in_order(
    journald: Journald,
) -> None:
    journald.stop()
    log.info("one")
    log.info("two")
    journald.start()
    records = await read_until(journald, lambda some: len(some) == 2)
    assert list(map(message, records)) == ["one", "two"]


def test_end_waits_a_limited_time_for_a_journald_that_is_gone(journald: Journald) -> None:
    journald.stop()
    path = str(journald.path)
    with used() as use, LogOutput(logging.INFO, "journal", {}, journal=path):
        log.info("x")
    assert use.elapsed >= LAST_WORDS
    journald.start()


# Settings


def test_level_has_the_names_of_systemd(output: LogOutput, journald: Journald) -> None:
    assert output.level == "info"
    for word, number in LEVELS.items():
        output.level = word
        assert output.level == word
        log.log(number, "shown")
        log.log(number - 1, "not shown")
        assert journald.only()["MESSAGE"] == "shown"
    with pytest.raises(BadInput, match="log level: unknown: 'loud'; use emerg, alert, crit, err, "):
        output.level = "loud"
    assert output.level == "debug"


def test_target_can_be_changed_while_records_are_written(
    output: LogOutput, journald: Journald
) -> None:
    output.target = "null"
    log.info("discarded")
    assert output.target == "null"
    output.target = "journal"
    log.info("shown")
    assert journald.only()["MESSAGE"] == "shown"
    with pytest.raises(BadInput, match="'kmsg'; use auto, journal, console, null"):
        output.target = "kmsg"
    assert output.target == "journal"


def test_records_of_the_former_target_are_counted_as_lost(
    output: LogOutput, journald: Journald
) -> None:
    journald.stop()
    log.info("x")
    output.target = "journal"
    journald.start()
    log.info("y")
    loss, record = journald.read()
    assert (loss["MESSAGE_ID"], loss["KOI_LOST"]) == (MessageId.RECORDS_LOST, "1")
    assert record["MESSAGE"] == "y"


def test_output_gets_no_records_after_its_context(journald: Journald) -> None:
    before = logging.getLogger().level
    with LogOutput(logging.DEBUG, "journal", {}, journal=str(journald.path)):
        pass
    log.warning("after the end")
    assert not journald.read()
    assert logging.getLogger().level == before
