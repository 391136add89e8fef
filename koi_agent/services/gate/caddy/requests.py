"""The requests that may pass the gate of Caddy: those that the agent makes for its own objects.

Some add an absent parent of such an object. They pass only while the parent is absent; see
``bodies``.
"""

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from koi_agent.core.frozen import frozen
from koi_agent.host.caddy.configuration import POLICIES, SERVERS
from koi_agent.host.caddy.objects import Names
from koi_agent.services.gate.head import USUAL_FIELDS, Forbidden, Head

FIELDS: Final = USUAL_FIELDS | {"content-length", "if-match"}
CONFIG: Final = "/config/"
ADMIN: Final = "/config/admin"
"""The page that the agent reads before it keeps the connection idle."""
LONGEST_BODY: Final = 8 * 2**20
"""Maximum size of a body in bytes: a server with 10 000 routes has 3 MB."""
_FIRST: Final = "/".join(("/config", *POLICIES, "0"))
_TAG: Final = re.compile(r'"[0-9a-f]{32}"')
_DIGITS: Final = re.compile("0|[1-9][0-9]{0,8}")


class Kind(Enum):
    """A request that the agent makes."""

    READ = auto()
    WATCH = auto()
    ADD = auto()
    """An object of the agent, with the parents that are absent."""
    INSERT_POLICY = auto()
    """The policy, before all others."""
    CHANGE_POLICY = auto()
    CHANGE_SERVER = auto()
    REMOVE_POLICY = auto()
    REMOVE_SERVER = auto()


_PAGES: Final = {CONFIG: Kind.READ, ADMIN: Kind.WATCH}


@frozen(kw_only=True)
class Request:
    """A request that may pass if its body may.

    ``at`` are the keys of the changed object in the configuration. ``port`` is that of a server.
    ``tag`` is that of the configuration that the client knows, "" for any.
    """

    kind: Kind
    method: str
    path: str
    at: tuple[str, ...] = ()
    port: int = 0
    length: int = 0
    tag: str = ""


def parse_request(head: Head, names: Names) -> Request:
    """Return what a head requests, for the objects with ``names``; raise ``Forbidden``."""
    if head.query:
        raise Forbidden("query not allowed")
    kind, at, port = _matched(head.method, head.path, names)
    tag = head.fields.get("if-match", "")
    if tag and not _TAG.fullmatch(tag):
        raise Forbidden("header field if-match is not a tag of this gate")
    length = _length(head.fields)
    if (length > 0) != (head.method in ("PUT", "POST", "PATCH")):
        raise Forbidden("request with a body that it may not have, or without its body")
    return Request(
        kind=kind, method=head.method, path=head.path, at=at, port=port, length=length, tag=tag
    )


def _length(fields: Mapping[str, str]) -> int:
    text = fields.get("content-length", "0")
    if not _DIGITS.fullmatch(text) or int(text) > LONGEST_BODY:
        raise Forbidden(f"header field content-length is not a number up to {LONGEST_BODY}")
    return int(text)


def _matched(method: str, path: str, names: Names) -> tuple[Kind, tuple[str, ...], int]:
    """Return the kind of a request, and the keys and the port of the object that it changes."""
    match method, path:
        case "GET", _ if path in _PAGES:
            return _PAGES[path], (), 0
        case "PUT", _ if path == _FIRST:
            return Kind.INSERT_POLICY, POLICIES, 0
        case (("PATCH" | "DELETE"), _) if path == f"/id/{names.policy}":
            kind = Kind.CHANGE_POLICY if method == "PATCH" else Kind.REMOVE_POLICY
            return kind, POLICIES, 0
        case (("PUT" | "POST" | "PATCH" | "DELETE"), _):
            return _of_config(method, path, names)
        case _:
            raise Forbidden("method or path not allowed")


def _of_config(method: str, path: str, names: Names) -> tuple[Kind, tuple[str, ...], int]:
    """Return what is changed by a path below the configuration: a server, or an absent parent."""
    at = tuple(path.removeprefix(CONFIG).split("/")) if path != CONFIG else ()
    port = names.port(at[-1]) if at[:-1] == SERVERS else 0
    if port and at[-1] != names.server(port):
        port = 0
    if not path.startswith(CONFIG) or not (port or _is_parent(at)):
        raise Forbidden("path not allowed")
    match method:
        case "PUT" | "POST" if at or method == "POST":
            return Kind.ADD, at, port
        case "PATCH" if port:
            return Kind.CHANGE_SERVER, at, port
        case "DELETE" if port:
            return Kind.REMOVE_SERVER, at, port
        case _:
            raise Forbidden("method not allowed on this path")


def _is_parent(at: tuple[str, ...]) -> bool:
    """Return True for the keys of the policies, and of what is above them or above a server."""
    return any(whole[: len(at)] == at for whole in (POLICIES, SERVERS))
