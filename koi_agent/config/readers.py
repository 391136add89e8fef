"""How the text of a setting becomes its value.

Every reader returns the value, or raises ``BadInput`` with a reason. What a list is made of may
be quoted, as in unit files.
"""

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import PurePosixPath
from typing import Final

from koi_agent.config.settings import BACKENDS, Listen
from koi_agent.core.errors import BadInput
from koi_agent.core.message_ids import LEVELS
from koi_agent.core.metadata.names import filled_text, safe_text, shown
from koi_agent.core.metadata.values import choice, exact_span, port
from koi_agent.core.unit_file.syntax import words

RUNTIMES: Final = ("docker", "podman", "systemd", "incus", "kubernetes")
ACCEPTED: Final = ("auto", *RUNTIMES)
ALIASES: Final = {"lxc": "incus", "lxd": "incus", "k8s": "kubernetes"}
NONE: Final = "none"
"""What ``Backends=`` says to follow no runtime; flag and variable have a word of their own."""

MOST_PATTERNS: Final = 256
MOST_LISTENERS: Final = 16
DAY: Final = 86_400
LONGEST_GRACE: Final = 60
LONGEST_CHECK: Final = 300
MOST_FAILURES: Final = 100
LONGEST_STALE: Final = 30 * DAY
MDNS: Final = ("auto", "off", "avahi", "resolved")
"""What can publish mDNS records: ``auto`` is whatever the host has."""
_SUFFIX = ".service"
_LONGEST_UNIT = 255
_LONGEST_SOCKET = 107  # bytes in sockaddr_un, without the NUL
_PATTERN = re.compile(r"(?:[A-Za-z0-9:_.\\@*?-]|\[!?[A-Za-z0-9:_.\\@-]+\])+")
_ELEMENT = re.compile(r"\[[^\]]+\]|.")
_LOOPBACK = ("127.0.0.1", "::1")
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # only where somebody wrote a *
_ADDRESS = re.compile(r"(?:(\*|[0-9.]+|\[[0-9A-Fa-f:.]+\]):)?([0-9]+)")


def backends(asked: str) -> tuple[str, ...]:
    """Read a ``--runtime`` list; ``auto`` is every runtime."""
    return _followed(word.strip() for word in asked.split(","))


def listed_backends(value: str) -> tuple[str, ...]:
    """Read ``Backends=``: with spaces or commas between names, or ``none``."""
    names = re.findall(r"[^ \t,]+", safe_text(value.replace("\t", " ")))
    return () if [name.lower() for name in names] == [NONE] else _followed(names)


def _followed(asked: Iterable[str]) -> tuple[str, ...]:
    names = [_runtime(word) for word in asked]
    return BACKENDS if "auto" in names else tuple(dict.fromkeys(names))


def _runtime(word: str) -> str:
    name = ALIASES.get(word.lower(), word.lower())
    if name not in ACCEPTED:
        raise BadInput(f"{shown(word)} is no runtime; accepted: {', '.join(ACCEPTED)}")
    if name not in ("auto", *BACKENDS):
        raise BadInput(
            f"this version can't follow {name} yet; it can follow: {', '.join(BACKENDS)}"
        )
    return name


def log_level(value: str) -> int:
    if value.lower() not in LEVELS:
        raise BadInput(f"{shown(value)} is no log level; accepted: {', '.join(LEVELS)}")
    return LEVELS[value.lower()]


def resync_interval(value: str) -> float:
    return exact_span(value, 1, DAY)


def restart_grace(value: str) -> float:
    return exact_span(value, 0, LONGEST_GRACE)


def stale_after(value: str) -> float:
    return exact_span(value, 0, LONGEST_STALE)


def mdns(value: str) -> str:
    return choice(value, MDNS)


def health(value: str) -> str:
    return choice(value, ("auto", "off"))


def health_interval(value: str) -> float:
    return exact_span(value, 1, DAY)


def health_timeout(value: str) -> float:
    return exact_span(value, 1, LONGEST_CHECK)


def unhealthy_after(value: str) -> int:
    digits = filled_text(value)
    if not re.fullmatch("[0-9]{1,3}", digits) or not 1 <= int(digits) <= MOST_FAILURES:
        raise BadInput(f"{shown(value)} is no number from 1 to {MOST_FAILURES}")
    return int(digits)


def engine_socket(value: str) -> str:
    """Read ``Socket=`` of a container engine: a path, or ``unix://`` and a path."""
    if not value:
        return ""
    path = filled_text(value).removeprefix("unix://")
    if not path.startswith("/"):
        raise BadInput(f"{shown(value)} is no socket's path: write it like /run/docker.sock")
    return _socket_path(path)


def unit_patterns(value: str) -> tuple[str, ...]:
    """Read a list of unit names and globs; a backslash is part of a name, as in ``After=``."""
    patterns = tuple(dict.fromkeys(map(_pattern, words(value.replace("\\", "\\\\")))))
    if len(patterns) > MOST_PATTERNS:
        raise BadInput(f"{len(patterns)} patterns are too many: there may be {MOST_PATTERNS}")
    return patterns


def _pattern(word: str) -> str:
    if len(word) > _LONGEST_UNIT:
        raise BadInput(f"{shown(word)} is longer than the {_LONGEST_UNIT} characters of a unit")
    if not _PATTERN.fullmatch(word):
        raise BadInput(
            f"{shown(word)} matches no unit: a pattern has letters, digits, :-_.\\@ and *?[]"
        )
    if not _may_match(word):
        raise BadInput(
            f"{shown(word)} matches no service: write it like web{_SUFFIX} or web*{_SUFFIX}"
        )
    return word


def _may_match(pattern: str) -> bool:
    """Tell whether a service's name may end as the pattern does after its last star."""
    end = _ELEMENT.findall(pattern.rpartition("*")[2])[-len(_SUFFIX) :]
    if "*" not in pattern and len(end) < len(_SUFFIX):
        return False
    return fnmatchcase(_SUFFIX[len(_SUFFIX) - len(end) :], "".join(end))


def listeners(value: str) -> tuple[Listen, ...]:
    """Read ``Listen=``: ports of the loopback, addresses with ports, paths of Unix sockets."""
    found = tuple(dict.fromkeys(one for word in words(value) for one in _listeners(word)))
    if len(found) > MOST_LISTENERS:
        raise BadInput(f"{len(found)} sockets are too many: there may be {MOST_LISTENERS}")
    return found


def _listeners(word: str) -> Iterator[Listen]:
    given = filled_text(word)
    if given.startswith("/"):
        yield Listen(path=_socket_path(given))
        return
    match = _ADDRESS.fullmatch(given)
    if not match:
        raise BadInput(
            f"{shown(given)} is nothing to listen on: write it like 8080, 192.0.2.1:8080,"
            " [2001:db8::1]:8080, *:8080 or /run/http.sock"
        )
    for host in _hosts(match[1], given):
        yield Listen(host=host, port=port(match[2]))


def _hosts(host: str | None, given: str) -> tuple[str, ...]:
    """Name the addresses meant: a port alone is the loopback's, for others are a decision."""
    if host is None:
        return _LOOPBACK
    if host == "*":
        return _EVERYWHERE
    try:
        if host.startswith("["):
            return (str(IPv6Address(host[1:-1])),)
        return (str(IPv4Address(host)),)
    except AddressValueError as error:
        raise BadInput(f"{shown(given)} has an address that is none: {error}") from error


def _socket_path(given: str) -> str:
    if len(given.encode()) > _LONGEST_SOCKET:
        raise BadInput(f"{shown(given)} is longer than the {_LONGEST_SOCKET} bytes of a socket")
    if ".." in PurePosixPath(given).parts or given.endswith("/"):
        raise BadInput(f"{shown(given)} is no socket's path: it ends in a name and has no ..")
    return given
