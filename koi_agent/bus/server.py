"""Answers calls for whole trees of objects out of tables; nothing is exported one by one.

Objects are looked up at each call. What a caller gets back when something is wrong is one of
the standard errors with a sentence of our own, never a traceback.
"""

import inspect
import logging
from asyncio import TaskGroup
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import Any

from koi_agent.bus import polkit
from koi_agent.bus.call_queue import CallQueue
from koi_agent.bus.client import Connection
from koi_agent.bus.interfaces import Call, ErrorReply, Method
from koi_agent.bus.messages import Flag, Header, Message, MessageType, marshal
from koi_agent.bus.standard_interfaces import ERROR, PEER, Objects, Standard
from koi_agent.bus.writer import BusLost
from koi_agent.core.errors import BadInput
from koi_agent.core.text import printable

log = logging.getLogger(__name__)

BODY_LIMIT = 16 * 1024
"""Bytes of arguments a call may bring: nothing we offer needs more, and these take 10 ms."""
CALLS_A_SENDER, CALLS_IN_ALL = 16, 256
"""Calls answered at one time; more are refused, so that nobody fills our memory."""
ANSWER_LIMIT = 31 * 1024 * 1024
"""Bytes an answer may have: the system bus ends the connection for one of more than 32 MiB."""
BUG = "bug: answering %s.%s"
INTERNAL = ErrorReply(ERROR + "Failed", "internal error; the journal has more")
TOO_MANY = ErrorReply(ERROR + "LimitsExceeded", "too many calls at one time")


class Server:
    """Dispatches method calls to ``objects``, while it runs."""

    def __init__(self, objects: Objects) -> None:
        self._standard = Standard(objects)
        self._group: TaskGroup | None = None
        self._under_way: Counter[str] = Counter()
        self._turns = CallQueue(self._begin)

    async def run(self) -> None:
        """Answer calls, and own those that take longer than one turn, until cancelled."""
        async with TaskGroup() as group:
            self._group = group
            await self._turns.run()

    def dispatch(self, link: Connection, message: Message) -> None:
        """Have a call answered when it is its sender's turn."""
        if len(message.body) > BODY_LIMIT:
            text = f"more than {BODY_LIMIT} bytes of arguments"
            _refuse(link, message.header, ErrorReply(ERROR + "LimitsExceeded", text))
        elif not self._turns.add(link, message):
            _refuse(link, message.header, TOO_MANY)

    def _begin(self, link: Connection, message: Message) -> None:
        header = message.header
        interactive = bool(header.flags & Flag.ALLOW_INTERACTIVE_AUTHORIZATION)
        call = Call(link, header.path, header.sender, interactive)
        try:
            method = self._method(header)
            arguments = _arguments(method, message)
            if method.action:
                self._later(call, header, method, self._authorized(call, method, arguments))
                return
            result = method.handle(call, *arguments)
            if inspect.isawaitable(result):
                self._later(call, header, method, result)
            else:
                _reply(link, header, method, result)
        except ErrorReply as refusal:
            _refuse(link, header, refusal)
        except Exception:
            # No caller may end the agent, nor see how it fails.
            log.exception(BUG, header.interface, header.member)
            _refuse(link, header, INTERNAL)

    async def _authorized(self, call: Call, method: Method, arguments: Sequence[Any]) -> Any:
        await polkit.check(call, method.action)
        result = method.handle(call, *arguments)
        return await result if inspect.isawaitable(result) else result

    def _later(self, call: Call, header: Header, method: Method, result: Awaitable[Any]) -> None:
        busy = self._under_way
        if not self._group or busy[call.sender] >= CALLS_A_SENDER or busy.total() >= CALLS_IN_ALL:
            if inspect.iscoroutine(result):
                result.close()
            _refuse(call.link, header, TOO_MANY)
            return
        busy[call.sender] += 1
        answer = self._answer(call, header, method, result)
        self._group.create_task(answer, name=f"answer {header.member}")

    async def _answer(
        self, call: Call, header: Header, method: Method, result: Awaitable[Any]
    ) -> None:
        try:
            _reply(call.link, header, method, await result)
            await call.link.room()
        except ErrorReply as refusal:
            _refuse(call.link, header, refusal)
        except Exception:
            log.exception(BUG, header.interface, header.member)
            _refuse(call.link, header, INTERNAL)
        finally:
            self._under_way[call.sender] -= 1
            self._under_way += Counter()

    def _method(self, header: Header) -> Method:
        offered = self._standard.offered(header.path)
        if header.interface == PEER:
            offered = [self._standard.peer]
        if not offered:
            raise ErrorReply(ERROR + "UnknownObject", f"no object {header.path}")
        if header.interface:
            offered = [shown for shown in offered if shown.name == header.interface]
            if not offered:
                text = f"no interface {header.interface} at {header.path}"
                raise ErrorReply(ERROR + "UnknownInterface", text)
        for shown in offered:
            if method := shown.methods.get(header.member):
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


def _reply(link: Connection, header: Header, method: Method, values: Sequence[Any] | bytes) -> None:
    body = values if isinstance(values, bytes) else marshal(method.answer, values)
    if len(body) > ANSWER_LIMIT:
        raise ErrorReply(ERROR + "LimitsExceeded", "the answer is too large for a bus")
    _send(link, header, Header(kind=MessageType.RETURN, signature=method.answer), body)


def _refuse(link: Connection, header: Header, refusal: ErrorReply) -> None:
    log.debug("%s refused %s: %s", header.member, header.sender, refusal)
    body = marshal("s", (printable(str(refusal)),))
    _send(
        link, header, Header(kind=MessageType.ERROR, error_name=refusal.name, signature="s"), body
    )


def _send(link: Connection, asked: Header, answer: Header, body: bytes) -> None:
    if asked.flags & Flag.NO_REPLY_EXPECTED:
        return
    answer.destination, answer.reply_serial = asked.sender, asked.serial
    try:
        link.send(answer, body)
    except BusLost as lost:
        log.debug("no answer for %s: %s", asked.sender, lost)
