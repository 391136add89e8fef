"""Publishes records with the agent's Avahi provider until its input ends, on a host of the LAN.

Its argument is a JSON array of records; those with a ``type`` are services. It prints "ready" when
all are announced.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence

from koi_agent.capabilities.mdns.providers import Avahi
from koi_agent.capabilities.mdns.records import HostName, MdnsRecord, Service
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key

OWNER = Key("systemd", "test")


def record(fields: dict[str, object]) -> MdnsRecord:
    made = Service if "type" in fields else HostName
    values = {key: tuple(one) if isinstance(one, list) else one for key, one in fields.items()}
    return made(owner=OWNER, **values)  # type: ignore[arg-type]


def report(_owner: Key, statuses: Sequence[RecordStatus]) -> None:
    if {one.state for one in statuses} == {RecordState.ANNOUNCED}:
        sys.stdout.write("ready\n")
        sys.stdout.flush()


async def main() -> None:
    records = [record(fields) for fields in json.loads(sys.argv[1])]
    async with (
        Avahi(os.environ["DBUS_SYSTEM_BUS_ADDRESS"]).session(report) as session,
        asyncio.TaskGroup() as group,
    ):
        running = group.create_task(session.run())
        await session.put(OWNER, records)
        await asyncio.to_thread(sys.stdin.read)
        await session.put(OWNER, ())
        running.cancel()


if __name__ == "__main__":
    asyncio.run(main())
