"""Withdraws the names that this host finds when the agent ends, unless it starts again."""

from pathlib import Path

from koi_agent.bus.end import ends_for_good
from koi_agent.capabilities.dns.names_file import Format, clear


async def withdraw_from(path: Path, form: Format, address: str) -> None:
    """Remove all names from the file at ``path``, also those that a killed agent left.

    They stay if the agent is restarting. ``address`` is that of the system bus.
    """
    if await ends_for_good(address):
        clear(path, form)
