"""The one door to aiodocker: what is asked of a Docker or Podman engine over its socket.

aiodocker brings connection, versions and requests; answers are taken apart here, piece by
piece, since one with thousands of containers would hold up everything else. Its own ways to
list and to listen are not used for that, and because its event stream can't be opened twice,
loses times and has no bound. Whatever goes wrong leaves here as one of our own errors, which
hold codes and no word of an answer.
"""

import asyncio
import errno
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

import aiodocker
import aiohttp

from koi_agent.backends.docker.sockets import is_hidden, trouble
from koi_agent.backends.http_engine.json_fields import objects, text
from koi_agent.core.errors import BackendAbsent, BackendLost, BadInput
from koi_agent.core.json_arrays import elements
from koi_agent.core.text import printable
from koi_agent.host.engines import EVENTS

NEWEST_API: Final = (1, 51)
"""The newest version whose answers are known to be read rightly; older engines speak theirs."""
NO_ENGINE: Final = 502
"""How a gate answers that has no engine."""
ANSWER_TIMEOUT: Final = 10.0
"""Seconds for anything but a list, which the engine that follows bounds, and the events."""
MOST_ANSWER: Final = 16 * 2**20
"""Bytes an answer about one container may have."""
MOST_LIST: Final = 512 * 2**20
MOST_LINE: Final = 4 * 2**20
"""Bytes an event may have; of a longer one only the fact is told, as an empty line."""
SLICE: Final = 50
"""Records decoded before others get their turn: a millisecond."""

_LIBPOD = "v4.0.0/libpod"
_RUNNING: Final[Mapping[str, Mapping[str, str]]] = {
    "docker": {},  # without a wish it lists what runs, is paused or restarts
    "podman": {"all": "1"},  # else not what is paused, and it knows no filter for what is ending
}


class NothingBehind(BackendAbsent):
    """A gate answers, and says that there is no engine: it has to know."""


class Vanished(BadInput):
    """There is no such container any more."""


class Refused(BackendLost):
    """An engine answered, but with an HTTP error; ``status`` is its code."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(f"{what} was answered with HTTP status {status}")
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Who answers on a socket: ``docker`` or ``podman``, its version, and its API's.

    ``cgroup_driver`` says how containers get their control groups: ``systemd`` or ``cgroupfs``.
    """

    backend: str
    version: str
    api: str
    cgroup_driver: str = ""


class API:
    """One engine, by its socket; used as a context, at the end of which nothing stays open.

    ``gate`` names the unit of the gate that would help if the socket is not for us.
    """

    def __init__(self, path: str, gate: str = "") -> None:
        self.path = path
        self._gate = gate
        self._docker: aiodocker.Docker

    async def __aenter__(self) -> Self:
        self._docker = aiodocker.Docker(url=f"unix://{self.path}", api_version="v1.24")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._docker.close()

    async def engine(self) -> Engine:
        """Ask who this is, and speak a version that both understand from now on.

        Raises ``BackendLost``, or ``BackendAbsent`` where there is no such socket.
        """
        try:
            answer = await self._answer("version", "version", versioned=False)
        except Refused as refused:
            if refused.status == NO_ENGINE:
                why = f"{self.path} is a gate, and no engine is behind it"
                raise NothingBehind(why) from refused
            raise
        if not isinstance(answer, dict):
            raise BackendLost(f"{self.path}: the answer to version is none")
        self._docker.api_version = f"v{_spoken(answer)}"
        is_podman = _is_podman(answer)
        return Engine(
            backend="podman" if is_podman else "docker",
            version=printable(text(answer, "Version"), 100),
            api=self._docker.api_version,
            cgroup_driver="" if is_podman else await self._cgroup_driver(),
        )

    async def _cgroup_driver(self) -> str:
        """Ask Docker what Podman says of each container."""
        answer = await self._answer("info", "info")
        return text(answer, "CgroupDriver") if isinstance(answer, dict) else ""

    async def containers(self, backend: str) -> AsyncIterator[list[object]]:
        """List what runs, some at a time; raises ``BackendLost``."""
        with self._translated("list"):
            async with self._asked("containers/json", _RUNNING[backend]) as response:
                body = await _bounded(response, MOST_LIST)
            async for records in _elements(body):
                yield records

    async def container(self, backend: str, id_: str) -> object:
        """Inspect one; raises ``Vanished``, ``BadInput`` or ``BackendLost``."""
        try:
            if backend == "podman":  # its own API knows control group and health
                path = f"{_LIBPOD}/containers/{id_}/json"
                return await self._answer("inspect", path, versioned=False)
            return await self._answer("inspect", f"containers/{id_}/json")
        except Refused as refused:
            if refused.status == 404:
                raise Vanished(f"container {id_:.12} is gone") from refused
            raise

    async def events(self, since: str) -> AsyncGenerator[Sequence[bytes], None]:
        """Listen, and yield lines as they come; raises ``BackendLost``.

        ``since`` is seconds since the epoch, with a fraction. Ends where the engine ends it.
        """
        wishes = {"since": since, "filters": json.dumps(EVENTS)}
        with self._translated("events"):
            async with self._asked("events", wishes) as response:
                async for lines in _lines(response):
                    yield lines

    async def _answer(self, what: str, path: str, *, versioned: bool = True) -> Any:
        with self._translated(what):
            async with asyncio.timeout(ANSWER_TIMEOUT):
                async with self._asked(path, {}, versioned=versioned) as response:
                    body = await _bounded(response, MOST_ANSWER)
            return json.loads(body)

    @asynccontextmanager
    async def _asked(
        self, path: str, wishes: Mapping[str, str], *, versioned: bool = True
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask; the answer's connection is closed in any case where it was not read whole."""
        asked = self._docker._query(  # aiodocker has no other way to a raw answer
            path, params=dict(wishes), timeout=aiohttp.ClientTimeout(), versioned_api=versioned
        )
        async with asked as response:
            try:
                yield response
            finally:
                response.release() if response.content.at_eof() else response.close()

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Say whatever goes wrong in our own words: aiodocker's and aiohttp's are many."""
        try:
            yield
        except aiodocker.DockerError as error:
            raise self._translation(what, error) from error
        except TimeoutError as error:
            raise BackendLost(f"{self.path}: no answer to {what} in time") from error
        except aiohttp.ClientError as error:
            raise BackendLost(f"{self.path}: {what} broke off: {type(error).__name__}") from error
        except OSError as error:
            raise self._lost(error) from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            # of json, and of aiodocker where an error's text is not what it expects
            raise BackendLost(f"{self.path}: the answer to {what} can't be read") from error

    def _translation(self, what: str, error: aiodocker.DockerError) -> BackendLost:
        if error.status != 900:  # aiodocker's own, for what is no answer at all
            return Refused(f"{self.path}: {what}", error.status)
        cause = error.__context__
        if isinstance(cause, OSError) and cause.errno:
            return self._lost(cause)
        return BackendLost(f"{self.path}: {what} broke off: {type(cause).__name__}")

    def _lost(self, error: OSError) -> BackendLost:
        """Say what is wrong with the socket; one that only its gate can see counts as not there."""
        unseen = isinstance(error, FileNotFoundError) or error.errno == errno.ENOENT
        unseen = unseen or (self._gate != "" and is_hidden(self.path, error))
        return (BackendAbsent if unseen else BackendLost)(trouble(self.path, error, self._gate))


def _is_podman(version: Mapping[str, object]) -> bool:
    return any(text(part, "Name") == "Podman Engine" for part in objects(version, "Components"))


def _spoken(version: Mapping[str, object]) -> str:
    """Choose the version to speak: the engine's newest, unless that is newer than ours."""
    theirs = _numbers(version.get("ApiVersion"))
    least = _numbers(version.get("MinAPIVersion"))
    if not theirs:
        raise BackendLost("the engine does not say which API version it speaks")
    major, minor = max(min(theirs, NEWEST_API), least or theirs)
    return f"{major}.{minor}"


def _numbers(text: object) -> tuple[int, int] | None:
    major, dot, minor = str(text).partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal() and len(major + minor) < 8):
        return None
    return int(major), int(minor)


async def _bounded(response: aiohttp.ClientResponse, most: int) -> bytearray:
    """Read an answer whole, unless there is no end of it."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > most:
            raise ValueError("too long")
    return body


async def _elements(body: bytearray) -> AsyncIterator[list[object]]:
    """Take a JSON array apart, a slice at a time; raises ``ValueError`` where it is none.

    What is not UTF-8 costs the text it is in.
    """
    records: list[object] = []
    for record in elements(body.decode("utf-8", "replace")):
        records.append(record)
        if len(records) == SLICE:
            yield records
            records = []
            await asyncio.sleep(0)
    yield records


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[Sequence[bytes]]:
    """Cut a stream into lines; one that is too long comes as an empty one."""
    rest = b""
    skipping = False
    async for piece in response.content.iter_any():
        first, *more = piece.split(b"\n")
        rest = b"" if skipping else rest + first
        if not more:
            skipping = skipping or len(rest) > MOST_LINE
            continue
        yield [b"" if skipping else rest, *more[:-1]]
        rest, skipping = more[-1], False
