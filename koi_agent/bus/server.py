"""Answers method calls for trees of objects that are described by tables.

Objects are looked up at each call. A caller gets the standard errors of D-Bus, with a text of
ours and never a traceback.
"""

import inspect
import logging
from asyncio import TaskGroup
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

from koi_agent.bus import polkit
from koi_agent.bus.call_queue import CallQueue
from koi_agent.bus.client import Connection
from koi_agent.bus.interfaces import Call, ErrorReply, Method
from koi_agent.bus.messages import Flag, Header, Message, MessageType, marshal
from koi_agent.bus.standard_interfaces import ERROR, PEER, Objects, StandardInterfaces
from koi_agent.bus.writer import BusLost
from koi_agent.core.errors import BadInput
from koi_agent.core.text import printable

log = logging.getLogger(__name__)

BUG = "bug: answering %s.%s"
INTERNAL = ErrorReply(ERROR + "Failed", "internal error; see the journal")
TOO_MANY = ErrorReply(ERROR + "LimitsExceeded", "too many calls at one time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits for callers of a server; calls beyond them are refused."""

    # Bytes of arguments. No method needs more, and to read these takes 10 ms at most.
    arguments: int = 16 * 1024
    # Bytes of a reply. The system bus disconnects a client that sends more than 32 MiB.
    reply: int = 31 * 1024 * 1024
    # Calls under way that do not end at once.
    calls_of_a_sender: int = 16
    calls: int = 256


DEFAULT_LIMITS = Limits()


class Server:
    """Dispatches method calls to ``objects`` while it runs."""

    def __init__(self, objects: Objects, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._standard = StandardInterfaces(objects)
        self._group: TaskGroup | None = None
        self._under_way: Counter[str] = Counter()
        self._queue = CallQueue(self._begin)

    async def run(self) -> None:
        """Answer calls, and own the tasks of those that wait, until cancelled."""
        async with TaskGroup() as group:
            self._group = group
            await self._queue.run()

    def dispatch(self, connection: Connection, message: Message) -> None:
        """Queue a call, or refuse it."""
        if len(message.body) > self._limits.arguments:
            text = f"more than {self._limits.arguments} bytes of arguments"
            _refuse(connection, message.header, ErrorReply(ERROR + "LimitsExceeded", text))
        elif not self._queue.add(connection, message):
            _refuse(connection, message.header, TOO_MANY)

    def _begin(self, connection: Connection, message: Message) -> None:
        header = message.header
        interactive = bool(header.flags & Flag.ALLOW_INTERACTIVE_AUTHORIZATION)
        call = Call(connection, header.path, header.sender, interactive)
        try:
            method = self._method(header)
            arguments = _arguments(method, message)
            if method.action:
                self._start_task(call, header, method, self._authorized(call, method, arguments))
                return
            result = method.handle(call, *arguments)
            if inspect.isawaitable(result):
                self._start_task(call, header, method, result)
            else:
                self._reply(connection, header, method, result)
        except ErrorReply as refusal:
            _refuse(connection, header, refusal)
        except Exception:
            # A call must not end the agent, and its caller must not see a traceback.
            log.exception(BUG, header.interface, header.member)
            _refuse(connection, header, INTERNAL)

    async def _authorized(self, call: Call, method: Method, arguments: Sequence[Any]) -> Any:
        await polkit.check(call, method.action)
        result = method.handle(call, *arguments)
        return await result if inspect.isawaitable(result) else result

    def _start_task(
        self, call: Call, header: Header, method: Method, result: Awaitable[Any]
    ) -> None:
        busy = self._under_way
        of_sender, limits = busy[call.sender], self._limits
        full = of_sender >= limits.calls_of_a_sender or busy.total() >= limits.calls
        if not self._group or full:
            if inspect.iscoroutine(result):
                result.close()
            _refuse(call.connection, header, TOO_MANY)
            return
        busy[call.sender] += 1
        answer = self._answer(call, header, method, result)
        self._group.create_task(answer, name=f"answer {header.member}")

    async def _answer(
        self, call: Call, header: Header, method: Method, result: Awaitable[Any]
    ) -> None:
        try:
            self._reply(call.connection, header, method, await result)
            await call.connection.drain()
        except ErrorReply as refusal:
            _refuse(call.connection, header, refusal)
        except Exception:
            log.exception(BUG, header.interface, header.member)
            _refuse(call.connection, header, INTERNAL)
        finally:
            self._under_way[call.sender] -= 1
            self._under_way += Counter()

    def _reply(
        self,
        connection: Connection,
        header: Header,
        method: Method,
        values: Sequence[Any] | bytes,
    ) -> None:
        body = values if isinstance(values, bytes) else marshal(method.return_signature, values)
        if len(body) > self._limits.reply:
            raise ErrorReply(ERROR + "LimitsExceeded", "the reply is too large for a bus")
        reply = Header(kind=MessageType.RETURN, signature=method.return_signature)
        _send(connection, header, reply, body)

    def _method(self, header: Header) -> Method:
        interfaces = self._standard.interfaces(header.path)
        if header.interface == PEER:
            interfaces = [self._standard.peer]
        if not interfaces:
            raise ErrorReply(ERROR + "UnknownObject", f"no object {header.path}")
        if header.interface:
            interfaces = [one for one in interfaces if one.name == header.interface]
            if not interfaces:
                text = f"no interface {header.interface} at {header.path}"
                raise ErrorReply(ERROR + "UnknownInterface", text)
        for one in interfaces:
            if method := one.methods.get(header.member):
                return method
        raise ErrorReply(ERROR + "UnknownMethod", f"no method {header.member} at {header.path}")


def _arguments(method: Method, message: Message) -> Sequence[Any]:
    given = message.header.signature
    if given != method.signature:
        text = f"{method.name} takes '{method.signature}', not '{given}'"
        raise ErrorReply(ERROR + "InvalidArgs", text)
    try:
        return message.values(keep_variants=True)
    except BadInput as error:
        raise ErrorReply(ERROR + "InvalidArgs", str(error)) from error


def _refuse(connection: Connection, header: Header, refusal: ErrorReply) -> None:
    log.debug("%s refused %s: %s", header.member, header.sender, refusal)
    body = marshal("s", (printable(str(refusal)),))
    reply = Header(kind=MessageType.ERROR, error_name=refusal.name, signature="s")
    _send(connection, header, reply, body)


def _send(connection: Connection, call: Header, reply: Header, body: bytes) -> None:
    if call.flags & Flag.NO_REPLY_EXPECTED:
        return
    reply.destination, reply.reply_serial = call.sender, call.serial
    try:
        connection.send(reply, body)
    except BusLost as lost:
        log.debug("no reply to %s: %s", call.sender, lost)
