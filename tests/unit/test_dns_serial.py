"""Serials of DNS zones grow with each change and over restarts, whatever happens to the file."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.capabilities.dns.serial import RESERVED, Serial, is_newer, state_file

NOW = 1_800_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state/serial"


def at(seconds: float, file: Path) -> Serial:
    return Serial(file, lambda: seconds)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (2, 1, True),
        (1, 2, False),
        (1, 1, False),
        (0, 2**32 - 1, True),
        (5, 2**32 - 5, True),
        (2**31 - 1, 0, True),
        (2**31 + 1, 0, False),
    ],
)
def test_serials_are_compared_on_a_circle(one: int, other: int, expected: bool) -> None:  # noqa: FBT001
    assert is_newer(one, other) is expected


@pytest.mark.parametrize("changes", [0, 1, RESERVED - 1, RESERVED, RESERVED + 1, 3 * RESERVED])
@pytest.mark.parametrize("seconds", [-86_400, 0, 1, 86_400])
def test_a_killed_agent_continues_above(file: Path, changes: int, seconds: int) -> None:
    serial = at(NOW, file)
    used = [serial.current, *(serial.next() for _ in range(changes))]
    assert used == [*range(NOW, NOW + changes + 1)]
    again = at(NOW + seconds, file)
    assert is_newer(again.current, used[-1])
    before = again.current
    assert is_newer(again.next(), before)


@pytest.mark.parametrize("content", [b"", b"x", b"-1", b"\xff", b"12 13", b"1" * 100])
def test_a_damaged_file_starts_from_the_time(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    assert at(NOW, file).current in (NOW, int(b"1" * 20) % 2**32)


def test_a_lost_file_starts_from_the_time(file: Path) -> None:
    serial = at(NOW, file)
    serial.next()
    file.unlink()
    assert at(NOW + 10, file).current == NOW + 10


def test_a_directory_that_refuses_is_logged_and_serials_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("")
    serial = at(NOW, tmp_path / "state/serial")
    assert [serial.next() for _ in range(3)] == [NOW + 1, NOW + 2, NOW + 3]
    assert "can't be stored" in caplog.text


@given(st.integers(0, 2**32 - 1), st.integers(1, 2000))
def test_serials_pass_the_end_of_the_numbers(start: int, steps: int) -> None:
    serial = Serial(Path("/dev/null/none"), lambda: start)
    before = serial.current
    for _ in range(steps):
        now = serial.next()
        assert is_newer(now, before)
        before = now


def test_the_file_is_in_the_directory_of_the_service_or_of_the_user() -> None:
    assert state_file("system", {}) == Path("/var/lib/koi-runtime/serial")
    assert state_file("user", {"STATE_DIRECTORY": "/a:/b"}) == Path("/a/serial")
    assert state_file("user", {"XDG_STATE_HOME": "/s"}) == Path("/s/koi-runtime/serial")
    assert state_file("user", {"XDG_STATE_HOME": "s"}).parts[-3:-1] == ("state", "koi-runtime")
