"""``koi-runtime watch``: what happens, a line each, until it is interrupted or the bus is gone.

It lives through restarts of the agent, and says so: who reads along lists anew then.
"""

import asyncio
import contextlib
import signal

from koi_agent.bus.client import Connection
from koi_agent.cli import formatting, records
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import NoAnswer, advice, bus
from koi_agent.cli.events import AGENT_STARTED, AGENT_STOPPED, End, Event, EventQueue
from koi_agent.cli.output import Output, Style, complain
from koi_agent.config import scope
from koi_agent.core.errors import KoiError, ungrouped
from koi_agent.core.text import printable

STYLES = {
    "started": Style.GOOD,
    "stopped": Style.GREY,
    "disconnected": Style.BAD,
    "reconnected": Style.GOOD,
    AGENT_STARTED: Style.GOOD,
    AGENT_STOPPED: Style.BAD,
}


def act(arguments: Arguments, output: Output) -> int:
    asyncio.run(watch(scope(arguments.scope), output))
    return 0


async def watch(scope: str, output: Output) -> None:
    """Write what happens until SIGINT or SIGTERM; raises ``NoAnswer``."""
    watching = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        if watching:
            asyncio.get_running_loop().add_signal_handler(number, watching.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await _watch(scope, output)


async def _watch(scope: str, output: Output) -> None:
    happenings = EventQueue()
    async with bus(scope) as link, link.subscribed(happenings.subscription()) as owner:
        if not owner:
            complain(f"waiting for the agent on the {scope} bus ({advice(scope)})")
        elif output.terminal:
            complain(f"watching the {scope} bus; Ctrl-C ends it")
        end = await _until_end(happenings, link, output)
    raise NoAnswer(f"the {scope} bus is gone: {end.reason}")


async def _until_end(happenings: EventQueue, link: Connection, output: Output) -> End:
    """Write happenings; raises what writing raises, out of its group."""
    with ungrouped(KoiError):
        async with asyncio.TaskGroup() as group:
            group.create_task(happenings.end(link), name="see the bus go")
            while not isinstance(said := await happenings.next(), End):
                show(said, output)
                output.flush()
            return said
    raise AssertionError("happenings end by an End")


def show(said: Event, output: Output) -> None:
    if output.mode != "off":
        output.json(record(said))
        return
    clock = said.moment.astimezone().strftime("%H:%M:%S.%f")[:-3]
    event = output.styled(f"{said.event:<13}", STYLES.get(said.event, Style.PLAIN))
    whose = f"{said.name or '-':<24} {said.backend:<10} " if said.backend else ""
    output.write(f"{clock} {event} {printable(whose + about(said))}".rstrip(" "))


def about(said: Event) -> str:
    """Say why, or what changed: ``key=value`` where the new value is known."""
    now = {key: f"{key}={formatting.value_of(value)}" for key, value in said.values.items()}
    return " ".join(filter(None, (said.reason, *(now.get(key, key) for key in said.changed))))


def record(said: Event) -> dict[str, object]:
    """Make the record of a happening; what does not apply to it is left out."""
    known = {
        "id": said.id,
        "name": said.name,
        "backend": said.backend,
        "reason": said.reason,
        "changed": list(said.changed),
        "values": dict(said.values),
    }
    time = records.rfc3339(int(said.moment.timestamp() * 1_000_000))
    return {"time": time, "event": said.event} | {k: v for k, v in known.items() if v}
