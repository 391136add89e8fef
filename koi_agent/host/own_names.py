"""The names of this host: the transient name, the static name, and the name with its domain.

The terms are those of hostnamectl(1). The kernel has the transient name, and hostname(5) the static
one.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Never

from koi_agent.timeouts import timeout

PATIENCE: Final = 2.0
"""Seconds that the resolver may take for the name with its domain."""
RETRY: Final = 30.0
"""Seconds until the next lookup after a failed one, whose thread may still wait."""
_STATIC: Final = Path("/etc/hostname")


def folded(name: str) -> str:
    """Return a name in lower case and without the dot of the root."""
    return name.lower().removesuffix(".")


def with_short_forms(names: Iterable[str]) -> frozenset[str]:
    """Return names with the first label of each, and that label's name in mDNS."""
    full = [one for one in map(folded, names) if one]
    labels = {one.partition(".")[0] for one in full} - {""}
    return frozenset({*full, *labels, *(f"{label}.local" for label in labels)})


def static_name(file: Path = _STATIC) -> str:
    """Return the name in hostname(5), "" without one."""
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    texts = (line.strip() for line in lines)
    return next((text for text in texts if text and not text.startswith("#")), "")


async def canonical_names() -> frozenset[str]:
    """Return the name with its domain, as ``hostname --fqdn`` does; none without an answer."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[frozenset[str]] = loop.create_future()

    def look_up() -> None:
        names = _canonical_names(socket.gethostname())
        with suppress(RuntimeError):  # the agent has ended
            loop.call_soon_threadsafe(_set_if_waited_for, answered, names)

    # A daemon thread: the agent can end while the resolver does not answer.
    threading.Thread(target=look_up, name="own names", daemon=True).start()
    with suppress(TimeoutError):
        async with timeout(PATIENCE):
            return await answered
    return frozenset()


def _canonical_names(name: str) -> frozenset[str]:
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME)
    except (OSError, UnicodeError):
        return frozenset()
    return frozenset(folded(canonical) for _, _, _, canonical, _ in answers if canonical)


def _set_if_waited_for(future: asyncio.Future[frozenset[str]], names: frozenset[str]) -> None:
    if not future.done():
        future.set_result(names)


class OwnNames:
    """The names of this host; ``changed`` is called when a lookup finds different ones.

    ``host_name`` returns the kernel's name.
    """

    def __init__(
        self, changed: Callable[[], None], host_name: Callable[[], str] = socket.gethostname
    ) -> None:
        self._changed = changed
        self._host_name = host_name
        self._found: frozenset[str] = frozenset()
        self._found_for = ""
        self._current: frozenset[str] = frozenset()
        self._current_for: str | None = None
        self._outdated = asyncio.Event()
        self._outdated.set()

    @property
    def current(self) -> frozenset[str]:
        """The names that are known, in lower case, with their first labels.

        If the kernel's name has changed, another lookup is requested.
        """
        name = self._host_name()
        if name != self._found_for:
            self._outdated.set()
        if name != self._current_for:
            self._current, self._current_for = self._found | with_short_forms([name]), name
        return self._current

    def refresh(self) -> None:
        """Request another lookup."""
        self._outdated.set()

    async def run(self) -> Never:
        """Update the names when they are outdated, until cancelled."""
        while True:
            await self._outdated.wait()
            self._outdated.clear()
            self._found_for = self._host_name()
            canonical = await canonical_names()
            found = with_short_forms([static_name(), *canonical])
            if found != self._found:
                self._found = found
                self._current_for = None
                self._changed()
            if not canonical:
                await asyncio.sleep(RETRY)
