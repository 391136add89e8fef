"""Withdraws the names that this host finds when the agent ends, unless it starts again."""

from pathlib import Path
from typing import Self

from koi_agent.bus.end import ends_for_good
from koi_agent.capabilities.dns.names_file import Format, clear
from koi_agent.core.errors import ProviderLost


class Withdrawal:
    """Withdraws all names from the file at ``path`` at the end of a block.

    This includes the names of a killed agent. They stay if the agent is restarting, or if
    ``is_replaced`` is set because another session follows. They also stay when the session is
    lost, because systemd-resolved may be back soon. ``address`` is that of the system bus.
    """

    def __init__(self, path: Path, form: Format, address: str) -> None:
        self.is_replaced = False
        self._path = path
        self._form = form
        self._address = address

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        is_lost = kind is not None and issubclass(kind, ProviderLost)
        if not (is_lost or self.is_replaced):
            await self.end()

    async def end(self) -> None:
        """Withdraw all names, unless the agent starts again at once."""
        if await ends_for_good(self._address):
            clear(self._path, self._form)
