"""Answers method calls for trees of objects that are described by tables.

Objects are looked up at each call. A caller gets the standard errors of D-Bus, with a text of
ours and never a traceback.
"""

import inspect
import logging
import os
from asyncio import Task, TaskGroup
from collections.abc import Awaitable, Sequence
from typing import Any

from koi_agent.bus import polkit
from koi_agent.bus.call_queue import CallQueue
from koi_agent.bus.callers import Callers
from koi_agent.bus.client import Connection
from koi_agent.bus.errors import BusLost
from koi_agent.bus.interfaces import Call, ErrorReply, Method
from koi_agent.bus.messages import Flag, Header, Message, MessageType, marshal
from koi_agent.bus.standard_interfaces import ERROR, PEER, Objects, StandardInterfaces
from koi_agent.bus.unread_replies import UnreadReplies
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.shares import Shares
from koi_agent.core.text import printable

log = logging.getLogger(__name__)

BUG = "bug: answering %s.%s"
INTERNAL = ErrorReply(ERROR + "Failed", "internal error; see the journal")
TOO_MANY = ErrorReply(ERROR + "LimitsExceeded", "too many calls at one time")


@frozen(kw_only=True)
class Limits:
    """Limits for callers of a server; calls beyond them are refused."""

    # Bytes of arguments. No method needs more, and to read these takes 10 ms at most.
    arguments: int = 16 * 1024
    # Bytes of a reply. The system bus disconnects a client that sends more than 32 MiB.
    reply: int = 31 * 1024 * 1024
    # Calls under way that do not end at once. Some are kept for root and the agent's own user.
    calls_of_a_sender: int = 16
    calls_of_a_user: int = 128
    calls: int = 512
    calls_kept: int = 64


DEFAULT_LIMITS = Limits()


class Server:
    """Dispatches method calls to ``objects`` while it runs."""

    def __init__(self, objects: Objects, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._standard = StandardInterfaces(objects)
        self._group: TaskGroup | None = None
        self._callers: Callers | None = None
        privileged = (0, os.getuid())
        self._of_users = Shares(
            limits.calls, limits.calls_of_a_user, kept=limits.calls_kept, privileged=privileged
        )
        self._of_senders = Shares(limits.calls, limits.calls_of_a_sender)
        self._reads: dict[str, set[Task[None]]] = {}
        self._unread = UnreadReplies(self._unread_by, self._wake, privileged)
        self._queue = CallQueue(self._begin, privileged, self._unread.exceeds)

    async def run(self) -> None:
        """Answer calls, and own the tasks of those that wait, until cancelled."""
        async with TaskGroup() as group:
            self._group = group
            group.create_task(self._unread.run(), name="unread replies")
            await self._queue.run()

    def dispatch(self, connection: Connection, message: Message) -> None:
        """Queue a call, or refuse it.

        A call without an effect and without a reply is dropped, and one beyond the limits of a user
        that leaves replies unread.
        """
        header = message.header
        if header.flags & Flag.NO_REPLY_EXPECTED and self.only_returns(header):
            return
        uid = self._uid(connection, header.sender)
        refusal = TOO_MANY
        if len(message.body) > self._limits.arguments:
            text = f"more than {self._limits.arguments} bytes of arguments"
            refusal = ErrorReply(ERROR + "LimitsExceeded", text)
        elif self._queue.add(connection, message, uid):
            return
        if uid is None or not self._unread.exceeds(uid):
            self._refuse(connection, header, refusal)

    def only_returns(self, header: Header) -> bool:
        """Return True if a call has no effect besides its reply."""
        try:
            return not self._method(header).acts
        except ErrorReply:
            return True

    def _uid(self, connection: Connection, sender: str) -> int | None:
        """Return the uid of a sender, ``None`` if ``_known`` or ``_lost`` gets the sender later."""
        if self._group is None:
            return None
        if self._callers is None or self._callers.connection is not connection:
            self._queue.clear()
            self._unread.clear()
            if self._callers:
                self._callers.close()
            self._callers = Callers(connection, self._group, self._known, self._lost)
        return self._callers.uid(sender)

    def _known(self, sender: str, uid: int) -> None:
        for connection, message in self._queue.assign(sender, uid):
            self._refuse(connection, message.header, TOO_MANY)

    def _lost(self, sender: str) -> None:
        """Drop the calls of a connection that is gone; what changes something is finished."""
        self._queue.drop(sender)
        self._unread.forget(sender)
        for task in self._reads.pop(sender, ()):
            task.cancel()

    async def _unread_by(self, caller: str) -> int | None:
        return await self._callers.unread(caller) if self._callers else 0

    def _wake(self) -> None:
        self._queue.wake()

    def _begin(self, connection: Connection, message: Message, uid: int) -> Task[None] | None:
        """Answer a call, or begin to; return the task of a reply that no other call overtakes."""
        header = message.header
        interactive = bool(header.flags & Flag.ALLOW_INTERACTIVE_AUTHORIZATION)
        call = Call(connection, header.path, header.sender, uid, interactive)
        try:
            method = self._method(header)
            arguments = _arguments(method, message)
            if method.action:
                self._start_task(call, header, method, self._authorized(call, method, arguments))
                return None
            result = method.handle(call, *arguments)
            if inspect.isawaitable(result):
                task = self._start_task(call, header, method, result)
                return task if method.large else None
            self._reply(connection, header, method, result)
        except ErrorReply as refusal:
            self._refuse(connection, header, refusal)
        except Exception:
            # A call must not end the agent, and its caller must not see a traceback.
            log.exception(BUG, header.interface, header.member)
            self._refuse(connection, header, INTERNAL)
        return None

    async def _authorized(self, call: Call, method: Method, arguments: Sequence[Any]) -> Any:
        await polkit.check(call, method.action)
        result = method.handle(call, *arguments)
        return await result if inspect.isawaitable(result) else result

    def _start_task(
        self, call: Call, header: Header, method: Method, result: Awaitable[Any]
    ) -> Task[None] | None:
        fits = self._of_users.fits(call.uid) and self._of_senders.fits(call.sender)
        if not self._group or not fits:
            _close(result)
            self._refuse(call.connection, header, TOO_MANY)
            return None
        self._of_users.add(call.uid)
        self._of_senders.add(call.sender)
        answer = self._answer(call, header, method, result)
        task = self._group.create_task(answer, name=f"answer {header.member}")
        if not method.acts:
            self._reads.setdefault(call.sender, set()).add(task)
        # A task that is cancelled before it runs would not get to a "finally".
        task.add_done_callback(lambda task: self._end_task(call, result, task))
        return task

    def _end_task(self, call: Call, result: Awaitable[Any], task: Task[None]) -> None:
        _close(result)
        self._of_users.remove(call.uid)
        self._of_senders.remove(call.sender)
        if reads := self._reads.get(call.sender):
            reads.discard(task)
            if not reads:
                del self._reads[call.sender]

    async def _answer(
        self, call: Call, header: Header, method: Method, result: Awaitable[Any]
    ) -> None:
        try:
            self._reply(call.connection, header, method, await result)
            await call.connection.drain()
        except ErrorReply as refusal:
            self._refuse(call.connection, header, refusal)
        except Exception:
            # A bug in one method must not end the task group, and with it the connection.
            log.exception(BUG, header.interface, header.member)
            self._refuse(call.connection, header, INTERNAL)

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
        self._send(connection, header, reply, body)

    def _refuse(self, connection: Connection, header: Header, refusal: ErrorReply) -> None:
        log.debug("%s refused %s: %s", header.member, header.sender, refusal)
        body = marshal("s", (printable(str(refusal)),))
        reply = Header(kind=MessageType.ERROR, error_name=refusal.name, signature="s")
        self._send(connection, header, reply, body)

    def _send(self, connection: Connection, call: Header, reply: Header, body: bytes) -> None:
        if call.flags & Flag.NO_REPLY_EXPECTED:
            return
        reply.destination, reply.reply_serial = call.sender, call.serial
        try:
            connection.send(reply, body)
        except BusLost as lost:
            log.debug("no reply to %s: %s", call.sender, lost)
        uid = self._callers.known_uid(call.sender) if self._callers else None
        if uid is not None:
            self._unread.add(uid, call.sender, len(body))

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


def _close(result: Awaitable[Any]) -> None:
    """End a coroutine that was perhaps never awaited."""
    if inspect.iscoroutine(result):
        result.close()


def _arguments(method: Method, message: Message) -> Sequence[Any]:
    given = message.header.signature
    if given != method.signature:
        text = f"{method.name} takes '{method.signature}', not '{given}'"
        raise ErrorReply(ERROR + "InvalidArgs", text)
    try:
        return message.values(keep_variants=True)
    except BadInput as error:
        raise ErrorReply(ERROR + "InvalidArgs", str(error)) from error
