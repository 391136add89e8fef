"""``koi-runtime reload``: have the configuration read anew; silent when that went well."""

import asyncio

from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import agent
from koi_agent.cli.output import Output
from koi_agent.config import scope


def act(arguments: Arguments, _output: Output) -> int:
    asyncio.run(ask(scope(arguments.scope)))
    return 0


async def ask(scope: str) -> None:
    """Ask for it; raises ``Refused`` with file, line and reason of a bad configuration."""
    async with agent(scope) as service:
        await service.reload()
