"""A fake avahi-daemon on a real bus, with its limits of groups and entries."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any, Final, Self

from koi_agent.bus.client import Connection, ReconnectingBus
from koi_agent.bus.marshalling import marshal
from koi_agent.bus.messages import Header, Message, MessageType
from koi_agent.capabilities.mdns.avahi.connections import GROUP, SERVER
from koi_agent.capabilities.mdns.bus_names import AVAHI

MOST_GROUPS: Final = 1024
MOST_ENTRIES: Final = 32
ESTABLISHED: Final = 2


class Refusal(Exception):
    """Raised to reply with an error of Avahi; the text is the end of its name."""


class FakeAvahi:
    """A service inside its context; ``groups`` has the entries of committed groups by path.

    ``stuck`` has the states that the next committed groups have instead of established; None is
    a group that is lost. ``asked`` has the methods that were called, in order.
    """

    def __init__(self, address: str) -> None:
        self.groups: dict[str, list[list[Any]]] = {}
        self.clients: Counter[str] = Counter()
        self.most: dict[str, int] = {}
        self.stuck: list[int | None] = []
        self.asked: list[str] = []
        self._states: dict[str, int | None] = {}
        self._bus = ReconnectingBus(address, self._answer)
        self._pending: dict[str, list[list[Any]]] = {}
        self._owners: dict[str, str] = {}
        self._number = 0

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(asyncio.TaskGroup())
            running = group.create_task(self._bus.run())
            stack.callback(running.cancel)
            assert await (await self._bus.connection()).request_name(AVAHI)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _answer(self, link: Connection, message: Message) -> None:
        asked = message.header
        self.asked.append(asked.member)
        try:
            signature, values = self._done(asked, message.values())
        except Refusal as refusal:
            name, text = f"{AVAHI}.{refusal}", "refused"
            answer = Header(kind=MessageType.ERROR, error_name=name, signature="s")
            signature, values = "s", [text]
        else:
            answer = Header(kind=MessageType.RETURN, signature=signature)
        answer.destination, answer.reply_serial = asked.sender, asked.serial
        link.send(answer, marshal(signature, values))
        if asked.member == "Commit" and self._states.get(asked.path) == ESTABLISHED:
            moved = Header(
                kind=MessageType.SIGNAL, path=asked.path, interface=GROUP, signature="is"
            )
            moved.member, moved.destination = "StateChanged", asked.sender
            link.send(moved, marshal("is", [ESTABLISHED, ""]))

    def _done(self, asked: Header, body: list[Any]) -> tuple[str, list[Any]]:
        if asked.interface == SERVER[2]:
            return self._serve(asked, body)
        match asked.member:
            case "Commit":
                self._commit(asked.path)
            case "GetState":
                return "i", [self._state(asked.path)]
            case "Free":
                del self._pending[asked.path]
                self.groups.pop(asked.path, None)
                self.clients[self._owners.pop(asked.path)] -= 1
            case _:
                self._add(asked, body)
        return "", []

    def _commit(self, path: str) -> None:
        if not self._pending[path]:
            raise Refusal("IsEmptyError")
        self.groups[path] = self._pending[path]
        self._states[path] = self.stuck.pop(0) if self.stuck else ESTABLISHED

    def _state(self, path: str) -> int:
        if (state := self._states[path]) is None:
            raise Refusal("InvalidObjectError")
        return state

    def _add(self, asked: Header, body: list[Any]) -> None:
        if asked.member == "AddServiceSubtype" and body[-1].startswith("_bad."):
            raise Refusal("InvalidServiceSubtypeError")
        if asked.member == "AddService" and self._is_taken(asked.path, body):
            raise Refusal("CollisionError")
        if len(self._pending[asked.path]) >= MOST_ENTRIES:
            raise Refusal("TooManyEntriesError")
        self._pending[asked.path].append(body)

    def _serve(self, asked: Header, body: list[Any]) -> tuple[str, list[Any]]:
        match asked.member:
            case "GetState":
                return "i", [2]
            case "GetHostName":
                return "s", ["box"]
            case "GetAlternativeServiceName":
                name, _, number = body[0].partition(" #")
                return "s", [f"{name} #{int(number or 1) + 1}"]
            case "EntryGroupNew":
                return "o", [self._new(asked.sender)]
            case other:
                raise AssertionError(other)

    def _is_taken(self, path: str, body: list[Any]) -> bool:
        """Return True if another group has a service with this name and type."""
        others = (entries for other, entries in self._pending.items() if other != path)
        return any(entry[3:5] == body[3:5] for entries in others for entry in entries)

    def names(self) -> set[str]:
        """Return the names of the committed services."""
        return {
            entry[3] for entries in self.groups.values() for entry in entries if len(entry) == 9
        }

    def _new(self, client: str) -> str:
        if self.clients[client] >= MOST_GROUPS:
            raise Refusal("TooManyObjectsError")
        self.clients[client] += 1
        self.most[client] = max(self.most.get(client, 0), self.clients[client])
        self._number += 1
        path = f"/Client/EntryGroup{self._number}"
        self._pending[path], self._owners[path] = [], client
        return path
