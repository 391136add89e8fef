"""Parses the text of a setting into its value.

Each reader returns the value, or raises ``BadInput`` with a reason. A function with limits returns
a reader. Items of a list may be quoted, as in unit files.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from pathlib import PurePosixPath
from typing import Final

from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.message_ids import LEVELS
from koi_agent.core.metadata.names import filled_text, safe_text, shown
from koi_agent.core.metadata.values import choice, exact_span, port
from koi_agent.core.unit_file.syntax import words

AUTO: Final = "auto"
"""The word in ``Backends=`` and ``--runtime`` that stands for all backends."""
NONE: Final = "none"
"""The word in ``Backends=`` that stands for no backend."""
OFF: Final = "off"
"""The word that turns a capability off."""
ALIASES: Final = {"lxc": "incus", "k8s": "kubernetes"}

MOST_PATTERNS: Final = 256
MOST_LISTENERS: Final = 16
MOST_HOSTS: Final = 64
_SUFFIX = ".service"
_LONGEST_UNIT = 255
_LONGEST_SOCKET = 107  # bytes in sockaddr_un, without the NUL
_PATTERN = re.compile(r"(?:[A-Za-z0-9:_.\\@*?-]|\[!?[A-Za-z0-9:_.\\@-]+\])+")
_NAME = re.compile(
    r"(?=.*[a-z_])[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*"
)
_ELEMENT = re.compile(r"\[[^\]]+\]|.")
_LOOPBACK = ("127.0.0.1", "::1")
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # only where the configuration has a *
_ADDRESS = re.compile(r"(?:(\*|[0-9.]+|\[[0-9A-Fa-f:.]+\]):)?([0-9]+)")


@frozen(kw_only=True)
class Listen:
    """One socket to bind: an IP address with a TCP port, or the path of a Unix socket.

    ``::`` means all IPv6 addresses and no IPv4 address.
    """

    host: str = ""
    port: int = 0
    path: str = ""


def accepted(known: Collection[str]) -> tuple[str, ...]:
    """Return the names that ``--runtime`` accepts; ``known`` are the backends' names."""
    return (AUTO, *known)


def runtime_list(value: str, known: Collection[str]) -> tuple[str, ...]:
    """Parse the names of backends, separated by commas; ``auto`` stands for all of ``known``."""
    return _backends((word.strip() for word in value.split(",")), known)


def backend_list(value: str, known: Collection[str]) -> tuple[str, ...]:
    """Parse the names of backends, separated by spaces or commas, or ``none``."""
    names = re.findall(r"[^ \t,]+", safe_text(value.replace("\t", " ")))
    return () if [name.lower() for name in names] == [NONE] else _backends(names, known)


def _backends(names: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    found = [_backend(name, known) for name in names]
    return tuple(known) if AUTO in found else tuple(dict.fromkeys(found))


def _backend(word: str, known: Collection[str]) -> str:
    name = ALIASES.get(word.lower(), word.lower())
    if name in (AUTO, *known):
        return name
    raise BadInput(f"{shown(word)} is not a backend; write {', '.join(accepted(known))}")


def log_level(value: str) -> int:
    """Parse a level of syslog(3) by systemd's word; return the number of ``logging``."""
    if value.lower() not in LEVELS:
        raise BadInput(f"{shown(value)} is not a log level; write {', '.join(LEVELS)}")
    return LEVELS[value.lower()]


def span(least: int, most: int) -> Callable[[str], float]:
    """Return a reader of a systemd.time(7) time span; limits and value are in seconds."""

    def read(value: str) -> float:
        return exact_span(value, least, most)

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """Return a reader of one of these words, in upper or lower case."""

    def read(value: str) -> str:
        return choice(value, words)

    return read


def outlets(*known: str) -> Callable[[str], tuple[str, ...]]:
    """Return a reader of a list of these words, or of ``auto`` or ``off`` alone."""

    def read(value: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(choice(one, (AUTO, OFF, *known)) for one in words(value)))
        if len(found) > 1 and not {AUTO, OFF}.isdisjoint(found):
            raise BadInput(f"{shown(value)} has auto or off beside other words; write it alone")
        return found

    return read


def number(least: int, most: int) -> Callable[[str], int]:
    """Return a reader of a decimal number between two limits."""

    def read(value: str) -> int:
        digits = filled_text(value)
        if not re.fullmatch("[0-9]{1,9}", digits) or not least <= int(digits) <= most:
            raise BadInput(f"{shown(value)} is not a number from {least} to {most}")
        return int(digits)

    return read


def engine_socket(value: str) -> str:
    """Parse the socket of a container engine: a path, ``unix://`` and a path, or empty."""
    if not value:
        return ""
    path = filled_text(value).removeprefix("unix://")
    if not path.startswith("/"):
        raise BadInput(
            f"{shown(value)} is not an absolute path; write a path like /run/docker.sock"
        )
    return socket_path(path)


def unit_patterns(value: str) -> tuple[str, ...]:
    """Parse a list of unit names and glob patterns; a backslash is part of a name (``After=``)."""
    patterns = tuple(dict.fromkeys(map(_pattern, words(value.replace("\\", "\\\\")))))
    if len(patterns) > MOST_PATTERNS:
        raise BadInput(f"{len(patterns)} patterns are too many; write at most {MOST_PATTERNS}")
    return patterns


def _pattern(word: str) -> str:
    if len(word) > _LONGEST_UNIT:
        raise BadInput(f"{shown(word)} is longer than a unit name, {_LONGEST_UNIT} characters")
    if not _PATTERN.fullmatch(word):
        raise BadInput(
            f"{shown(word)} is not a unit name or pattern; write letters, digits, :-_.\\@ and *?[]"
        )
    if not _may_match(word):
        raise BadInput(
            f"{shown(word)} matches no service; write a name like web{_SUFFIX} or web*{_SUFFIX}"
        )
    return word


def machine_patterns(value: str) -> tuple[str, ...]:
    """Parse a list of names of machines and glob patterns."""
    patterns = tuple(dict.fromkeys(map(filled_text, words(value))))
    if len(patterns) > MOST_PATTERNS:
        raise BadInput(f"{len(patterns)} patterns are too many; write at most {MOST_PATTERNS}")
    for pattern in patterns:
        if len(pattern) > _LONGEST_UNIT or "/" in pattern:
            raise BadInput(f"{shown(pattern)} is not the name of a machine, or a pattern of names")
    return patterns


def name_patterns(value: str) -> tuple[str, ...]:
    """Parse a list of glob patterns for names, which are compared without regard to case."""
    patterns = tuple(dict.fromkeys(filled_text(word).lower() for word in words(value)))
    if len(patterns) > MOST_PATTERNS:
        raise BadInput(f"{len(patterns)} patterns are too many; write at most {MOST_PATTERNS}")
    for pattern in patterns:
        if len(pattern) > _LONGEST_UNIT:
            raise BadInput(f"{shown(pattern)} is longer than {_LONGEST_UNIT} characters")
        if "." in pattern:
            raise BadInput(f"{shown(pattern)} matches no name: no name has dots; write web*")
    return patterns


def project_patterns(value: str) -> tuple[str, ...]:
    """Parse a list of names of projects and glob patterns."""
    patterns = tuple(dict.fromkeys(filled_text(word) for word in words(value)))
    if len(patterns) > MOST_PATTERNS:
        raise BadInput(f"{len(patterns)} patterns are too many; write at most {MOST_PATTERNS}")
    for pattern in patterns:
        if "/" in pattern or len(pattern) > _LONGEST_UNIT:
            raise BadInput(f"{shown(pattern)} is not the name of a project; write web or web*")
    return patterns


def _may_match(pattern: str) -> bool:
    """Return True if a service's name may end as the pattern does after its last star."""
    end = _ELEMENT.findall(pattern.rpartition("*")[2])[-len(_SUFFIX) :]
    if "*" not in pattern and len(end) < len(_SUFFIX):
        return False
    return fnmatchcase(_SUFFIX[len(_SUFFIX) - len(end) :], "".join(end))


def listeners(value: str) -> tuple[Listen, ...]:
    """Parse a list of ports, addresses with ports, and paths of Unix sockets."""
    found = tuple(dict.fromkeys(one for word in words(value) for one in _listeners(word)))
    if len(found) > MOST_LISTENERS:
        raise BadInput(f"{len(found)} sockets are too many; write at most {MOST_LISTENERS}")
    return found


def _listeners(word: str) -> Iterator[Listen]:
    text = filled_text(word)
    if text.startswith("/"):
        yield Listen(path=socket_path(text))
        return
    match = _ADDRESS.fullmatch(text)
    if not match:
        raise BadInput(
            f"{shown(text)} is not an address to listen on; write 8080, 192.0.2.1:8080,"
            " [2001:db8::1]:8080, *:8080 or /run/http.sock"
        )
    for host in _hosts(match[1], text):
        yield Listen(host=host, port=port(match[2]))


def _hosts(host: str | None, text: str) -> tuple[str, ...]:
    # A port alone binds to loopback: other addresses are to be chosen explicitly.
    if host is None:
        return _LOOPBACK
    if host == "*":
        return _EVERYWHERE
    try:
        if host.startswith("["):
            return (str(IPv6Address(host[1:-1])),)
        return (str(IPv4Address(host)),)
    except AddressValueError as error:
        raise BadInput(f"{shown(text)} has an invalid address: {error}") from error


def hosts(value: str) -> tuple[str, ...]:
    """Parse a list of host names and IP addresses; return them in lower case."""
    found = tuple(dict.fromkeys(_host_name(filled_text(word)) for word in words(value)))
    if len(found) > MOST_HOSTS:
        raise BadInput(f"{len(found)} names are too many; write at most {MOST_HOSTS}")
    return found


def _host_name(word: str) -> str:
    with suppress(ValueError):
        return str(ip_address(word.removeprefix("[").removesuffix("]")))
    name = word.lower().removesuffix(".")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise BadInput(
            f"{shown(word)} is not a host name or an address; write a name like www.example.org"
        )
    return name


def socket_path(text: str) -> str:
    """Accept the path of a Unix socket."""
    if len(text.encode()) > _LONGEST_SOCKET:
        raise BadInput(f"{shown(text)} is longer than a socket's path, {_LONGEST_SOCKET} bytes")
    if ".." in PurePosixPath(text).parts or text.endswith("/"):
        raise BadInput(f"{shown(text)} is not a socket's path; write a path without .. and final /")
    return text
