"""``koi-runtime watch``: a line for each event, until it is interrupted or the bus is lost.

It keeps running while the agent restarts, and reports the restart: what was listed before it may
be outdated.
"""

import asyncio
import contextlib
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from koi_agent.bus.client import Connection
from koi_agent.cli import formatting
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.async_client import AsyncClient, bus
from koi_agent.cli.client import NoAnswer, advice
from koi_agent.cli.events import AGENT_STARTED, AGENT_STOPPED, Event, EventQueue, Lost
from koi_agent.cli.output import Output, Style, complain
from koi_agent.cli.watched import Watched
from koi_agent.core.errors import KoiError, ungrouped
from koi_agent.core.schema.types import rfc3339
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
    asyncio.run(watch(arguments.agent, arguments.names, output))
    return 0


async def watch(scope: str, words: Sequence[str], output: Output) -> None:
    """Write events until SIGINT or SIGTERM; raises ``NoAnswer`` if the bus is lost.

    ``words`` mean the instances whose events are written; without any, those of all are.
    """
    task = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        if task:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await _watch(scope, words, output)


async def _watch(scope: str, words: Sequence[str], output: Output) -> None:
    events = EventQueue()
    async with bus(scope) as link, link.subscribed(events.subscription()) as owner:
        if not owner:
            complain(f"waiting for the agent on the {scope} bus ({advice(scope)})")
        elif output.terminal:
            complain(f"watching the {scope} bus; Ctrl-C ends it")
        watched = Watched(AsyncClient(link), words)
        if owner:
            await watched.list()
        lost = await _write_events(events, watched, link, output)
    raise NoAnswer(f"the {scope} bus is gone: {lost.reason}")


async def _write_events(
    events: EventQueue, watched: Watched, link: Connection, output: Output
) -> Lost:
    """Write events until the bus is lost; raises what writing raises."""
    with ungrouped(KoiError):
        async with asyncio.TaskGroup() as group:
            group.create_task(events.wait_lost(link), name="wait for the loss of the bus")
            while not isinstance(event := await events.next(), Lost):
                if shown := await watched.seen(event):
                    write(shown, output)
                    output.flush()
            return event
    raise AssertionError("the queue ends with Lost")


def write(event: Event, output: Output) -> None:
    """Write one event: a line of text, or JSON."""
    if output.mode != "off":
        output.json(record(event))
        return
    clock = event.time.astimezone().strftime("%H:%M:%S.%f")[:-3]
    kind = output.styled(f"{event.kind:<13}", STYLES.get(event.kind, Style.PLAIN))
    subject = f"{event.name or '-':<24} {event.backend:<10} " if event.backend else ""
    output.write(f"{clock} {kind} {printable(subject + details(event))}".rstrip(" "))


def details(event: Event) -> str:
    """Return the reason of an event, and its changes: ``key=value`` where the value is known."""
    changes = [
        f"{key}={formatting.value_of(event.values[key])}" if key in event.values else key
        for key in event.changed
    ]
    changes = [change for change in changes if change != "announcements" or not event.records]
    records = ", ".join(_change(one) for one in event.records)
    return " ".join(filter(None, (event.reason, *changes, records)))


def _change(record: Mapping[str, Any]) -> str:
    """Format a record that changed: its name, its status, and the reason if there is one."""
    return formatting.detailed(f"{record['name']} {record['status']}", record["reason"])


def record(event: Event) -> dict[str, object]:
    """Return the record of an event; a key that does not apply to it is left out."""
    known = {
        "id": event.id,
        "name": event.name,
        "backend": event.backend,
        "reason": event.reason,
        "changed": list(event.changed),
        "values": dict(event.values),
        "records": list(event.records),
    }
    time = rfc3339(int(event.time.timestamp() * 1_000_000))
    return {"time": time, "event": event.kind} | {k: v for k, v in known.items() if v}
