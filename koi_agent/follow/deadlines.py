"""Detects steps that have overrun their timeouts by far, which is a bug of the agent."""

import asyncio


class Deadlines:
    """The steps under way, each with the loop time from which it is overdue.

    A step is ended by its own timeout. If it takes twice as long, the timeout has failed.
    """

    def __init__(self) -> None:
        self._overdue_at: dict[str, float] = {}

    def start(self, step: str, timeout: float) -> None:
        """Begin a step that has a timeout of its own, in seconds."""
        self._overdue_at[step] = asyncio.get_running_loop().time() + 2 * timeout

    def end(self, step: str) -> None:
        """End a step, if it is under way."""
        self._overdue_at.pop(step, None)

    def clear(self) -> None:
        """End all steps."""
        self._overdue_at.clear()

    def overdue(self) -> list[str]:
        """Return the steps that are overdue."""
        now = asyncio.get_running_loop().time()
        return [step for step, at in self._overdue_at.items() if now > at]
