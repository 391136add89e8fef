"""Programs that end, that do not, and that write too much."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from koi_agent.host.programs import MAX_ERRORS, ProgramFailed, Result, inherited, run
from tests.runtimes.followed import eventually

ENOUGH = 60.0


async def shell(text: str, *, seconds: float = ENOUGH, most: int = 1000) -> Result:
    return await run(("/bin/sh", "-c", text), {"A": "b c"}, seconds=seconds, most=most)


async def test_a_program_has_only_the_variables_that_it_is_given() -> None:
    result = await shell('echo "$A/$HOME"; echo away >&2; pwd; cat; exit 3')
    assert (result.status, result.output, result.errors) == (3, b"b c/\n/\n", b"away\n")


async def test_an_argument_is_passed_as_it_is() -> None:
    command = ("/bin/echo", "$(id)", "a  b", "*")
    assert (await run(command, {}, seconds=ENOUGH, most=1000)).output == b"$(id) a  b *\n"


def gone(pid: int) -> bool:
    """Return True for a process that has ended, also if its parent has not noticed."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return text.rpartition(")")[2].split()[0] == "Z"


def pids(file: Path) -> list[int]:
    return [int(text) for text in file.read_text().split()] if file.exists() else []


async def all_end(file: Path) -> None:
    assert pids(file)
    await eventually(lambda: all(map(gone, pids(file))), lambda: str(pids(file)))


async def test_a_program_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    text = f"trap '' TERM; sleep 600 & echo $! $$ >{file}; echo part; wait"
    with pytest.raises(ProgramFailed, match=r"no result within 0\.5 s"):
        await shell(text, seconds=0.5)
    await all_end(file)


async def test_a_program_whose_waiter_is_cancelled_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    async with asyncio.TaskGroup() as group:
        task = group.create_task(shell(f"echo $$ >{file}; sleep 600", seconds=600))
        await eventually(lambda: bool(pids(file)), lambda: "no program runs")
        task.cancel()
    await all_end(file)


async def test_a_child_outside_the_group_that_keeps_the_output_open_is_not_waited_for() -> None:
    assert shutil.which("setsid"), "it is of util-linux, which is essential"
    with pytest.raises(ProgramFailed, match="no result"):
        await shell("setsid sleep 3 & exit 0", seconds=0.5)


async def test_too_much_output_is_an_error_and_of_errors_the_end_is_kept() -> None:
    with pytest.raises(ProgramFailed, match="longer than 1000 bytes"):
        await shell("while :; do echo 0123456789; done")
    result = await shell("i=0; while [ $i -lt 2000 ]; do echo $i >&2; i=$((i+1)); done; exit 1")
    assert len(result.errors) == MAX_ERRORS
    assert result.errors.endswith(b"1999\n")


async def test_a_signal_is_a_negative_status() -> None:
    assert (await shell("kill -9 $$")).status == -9


@pytest.mark.parametrize("command", ["/nowhere/program", "/", "/etc/passwd", "/bin/sh\0"])
async def test_what_is_not_a_program_is_an_error(command: str) -> None:
    with pytest.raises(ProgramFailed, match="it can't be started: "):
        await run((command,), {}, seconds=ENOUGH, most=1)


def test_variables_for_the_agent_itself_are_not_inherited() -> None:
    found = inherited({"NOTIFY_SOCKET": "a", "KOI_RUNTIME": "b", "PATH": "c", "HOME": "d"})
    assert found == {"PATH": "c", "HOME": "d"}


@pytest.mark.parametrize("turns", range(5))
async def test_a_second_cancellation_waits_until_the_program_has_ended(
    tmp_path: Path, turns: int
) -> None:
    file = tmp_path / "pids"
    async with asyncio.TaskGroup() as group:
        task = group.create_task(shell(f"echo $$ >{file}; sleep 600", seconds=600))
        await eventually(lambda: bool(pids(file)), lambda: "no program runs")
        task.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
    (pid,) = pids(file)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
