"""Virtual time: when all tasks wait, the clock of the event loop jumps to the next timeout.

Sockets work if both ends are in this process: what one end has sent is ready for the other. Time
must not depend on another process or thread; a thread is waited for only if nothing else has a
timeout.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


_THREAD = 20.0
"""How long a thread may take, in seconds of the real clock."""


class Jump(selectors.SelectSelector):
    """A selector that adds its timeout to ``now`` instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(_THREAD if timeout is None else 0)
        if not ready:
            assert timeout is not None, "all tasks wait, and there is no timeout"
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps."""

    def __init__(self) -> None:
        self._jump = Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def run(todo: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time; fails if a task is left."""

    async def whole() -> T:
        result = await todo
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        return result

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(whole())


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test that is a coroutine function in virtual time."""

    @functools.wraps(test)
    def run_test(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return run_test


def now() -> float:
    """Return the virtual time in seconds."""
    return asyncio.get_running_loop().time()
