"""Withdraws the names that this host finds when the agent ends, unless it starts again."""

from collections.abc import Callable
from pathlib import Path
from typing import Self

from koi_agent.bus.jobs import AGENT, is_restarted
from koi_agent.core.errors import ProviderLost


class Withdrawal:
    """Withdraws all names from ``file`` at the end of a block, also those of a killed agent.

    They stay if the agent starts again at once, or if ``is_replaced`` is set: another session
    follows. They also stay when the session is lost, because systemd-resolved may be back soon.
    ``clear`` empties the file. ``address`` is that of the system bus.
    """

    def __init__(self, file: Path, clear: Callable[[Path], None], address: str) -> None:
        self.is_replaced = False
        self._file = file
        self._clear = clear
        self._address = address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        is_lost = kind is not None and issubclass(kind, ProviderLost)
        if not (is_lost or self.is_replaced):
            self.end()

    def end(self) -> None:
        """Withdraw all names, unless the agent starts again at once."""
        if not is_restarted(AGENT, self._address):
            self._clear(self._file)
