"""``koi-runtime reload``: reload the configuration of the agent; silent on success."""

import asyncio

from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import agent
from koi_agent.cli.output import Output


def act(arguments: Arguments, _output: Output) -> int:
    asyncio.run(reload(arguments.agent))
    return 0


async def reload(scope: str) -> None:
    """Reload; raise ``Refused`` with file, line and reason if the configuration is invalid."""
    async with agent(scope) as client:
        await client.reload()
