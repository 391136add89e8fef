"""A program: a client of dbus-next, by its public names, that reads and writes for a test.

Usage: ``python -m tests.bus.stock_client ADDRESS``. Each message that comes from the bus goes
to standard output, and each that comes from standard input goes to the bus, pickled as a
dictionary of the arguments of ``dbus_next.message.Message``.
"""

import asyncio
import pickle
import sys

from dbus_next.aio.message_bus import MessageBus
from dbus_next.message import Message

ARGUMENTS = (
    "destination", "path", "interface", "member", "message_type", "flags", "error_name",
    "reply_serial", "sender", "signature", "body", "serial",
)  # fmt: skip


def show(message: Message) -> bool:
    """Write a message; returns True, for dbus-next need not handle it."""
    pickle.dump({name: getattr(message, name) for name in ARGUMENTS}, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    return True


async def main(address: str) -> None:
    """Serve until standard input ends."""
    bus = MessageBus(bus_address=address)
    # Before the reply of Hello, with which the first message may come; that reply is not shown.
    bus.add_message_handler(lambda message: bool(bus.unique_name) and show(message))
    await bus.connect()
    while True:
        try:
            asked = await asyncio.to_thread(pickle.load, sys.stdin.buffer)
        except EOFError:
            return
        await bus.send(Message(**asked))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
