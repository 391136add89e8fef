"""``koi-runtime resync``: have backends listed anew, now, and tell what was different."""

import asyncio
from collections.abc import Mapping, Sequence

from koi_agent.cli import records
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import Refused, agent
from koi_agent.cli.output import Output, complain
from koi_agent.config import scope
from koi_agent.core.errors import KoiError
from koi_agent.core.text import printable

WAYS = ("added", "changed", "removed")
ABSENT = "absent"


class NoSuchBackend(KoiError):
    """The agent follows no backend of this name."""


def act(arguments: Arguments, output: Output) -> int:
    done, troubles = asyncio.run(ask(scope(arguments.scope), arguments.backend))
    if output.mode != "off":
        output.json(done)
    else:
        for backend, counts in done.items():
            told = ", ".join(f"{counts[way]} {way}" for way in WAYS)
            output.write(printable(f"{backend}: {told}"))
    output.flush()
    for trouble in troubles:
        complain(trouble)
    return 1 if troubles else 0


async def ask(scope: str, backend: str | None) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Have each backend listed; returns how much was different, and a sentence a failure."""
    done: dict[str, dict[str, int]] = {}
    troubles: list[str] = []
    async with agent(scope) as service:
        for name in meant(await service.backend_states(), backend):
            try:
                said = await service.resync(name)
            except Refused as refused:
                troubles.append(f"{name}: {refused}")
            else:
                done[name] = {way: records.number(said, way) for way in WAYS}
    return done, troubles


def meant(states: Mapping[str, str], backend: str | None) -> Sequence[str]:
    """Pick the backends to list: the one asked for, else all whose runtime is there."""
    if backend is None:
        return [name for name, state in sorted(states.items()) if state != ABSENT]
    if backend not in states:
        followed = ", ".join(sorted(states)) or "none"
        raise NoSuchBackend(f"no backend '{backend}'; this agent follows: {followed}")
    return [backend]
