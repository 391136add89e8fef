"""The end of the agent: a restart removes nothing that others use."""

import asyncio
from typing import Final

from koi_agent.bus.jobs import is_restarted

AGENT: Final = "koi-runtime.service"


async def ends_for_good(address: str) -> bool:
    """Return True unless the service manager starts the agent again at once.

    ``address`` is that of its bus. The question waits in a thread, for at most four seconds.
    """
    return not await asyncio.to_thread(is_restarted, AGENT, address)
