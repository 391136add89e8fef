"""Errors of task groups: an expected error is raised by itself, a bug in its group."""

import asyncio

import pytest

from koi_agent.core.errors import BackendAbsent, BackendLost, ungrouped


async def fail(error: Exception) -> None:
    raise error


async def grouped(*errors: Exception) -> None:
    async with asyncio.TaskGroup() as group:
        for error in errors:
            group.create_task(fail(error))


async def test_expected_error_is_raised_by_itself() -> None:
    lost = BackendAbsent("gone")
    with pytest.raises(BackendAbsent) as caught, ungrouped(BackendLost):
        await grouped(lost, BackendLost("too"))
    assert caught.value is lost


async def test_expected_error_is_raised_out_of_nested_groups() -> None:
    lost = BackendLost("gone")
    with pytest.raises(BackendLost) as caught, ungrouped(BackendLost):
        async with asyncio.TaskGroup() as group:
            group.create_task(grouped(lost))
    assert caught.value is lost


async def test_bug_is_not_hidden_by_an_expected_error() -> None:
    with pytest.raises(ExceptionGroup) as caught, ungrouped(BackendLost):
        await grouped(BackendLost("gone"), ZeroDivisionError())
    assert len(caught.value.exceptions) == 2


async def test_cancellation_is_not_an_error() -> None:
    with ungrouped(BackendLost):
        task = asyncio.create_task(asyncio.sleep(9))  # noqa: TID251 - ended here
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
