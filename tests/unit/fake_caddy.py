"""The far end of Caddy's admin API: a configuration that is changed as Caddy changes it.

It follows what Caddy 2.6 does, as tried with the real one: absent parents, identifiers that are
not unique, a key that exists, two policies for one name, and two servers on one port.
"""

import copy
import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final

from koi_agent.capabilities.proxy.caddy.steps import Step

ID: Final = "@id"


class Refused(Exception):
    """A request that changes nothing, with its status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class FakeCaddy:
    """The configuration; ``file`` is what a start and a reload load. ``writes`` counts changes.

    ``knows_streams`` is False for a version without ``stream_close_delay``. ``has_etag`` is True
    for one that compares ``If-Match``. Servers on ``taken`` ports can't listen. Words that are
    ``refused`` make a configuration invalid.
    """

    def __init__(self, file: Any, *, knows_streams: bool = True, has_etag: bool = False) -> None:
        self.file = file
        self.root: Any = copy.deepcopy(file)
        self.writes = 0
        self.knows_streams = knows_streams
        self.has_etag = has_etag
        self.taken: set[int] = set()
        self.refused: set[str] = set()

    def load(self) -> None:
        """Load the file, as a restart or a reload does."""
        self.root = copy.deepcopy(self.file)

    @property
    def etag(self) -> str:
        text = json.dumps(self.root)
        return f'"/config/ {hashlib.sha256(text.encode()).hexdigest()[:16]}"'

    def apply(self, step: Step) -> int:
        """Make a change as it is requested; return the status."""
        return self.request(step.method, step.path, step.body)[0]

    def request(
        self, method: str, path: str, body: bytes | None = None, if_match: str = ""
    ) -> tuple[int, Any]:
        """Answer a request with a status and a body."""
        if if_match and self.has_etag and if_match != self.etag:
            return 412, {"error": "precondition failed"}
        try:
            if method == "GET":
                return 200, self._get(self._keys(path))
            changed = copy.deepcopy(self.root)
            value = json.loads(body) if body else None
            root = _changed(changed, self._keys(path), method, value)
            self._check(root)
        except Refused as refused:
            return refused.status, {"error": str(refused)}
        self.root = root
        self.writes += 1
        return 200, None

    def _keys(self, path: str) -> list[str]:
        first, *keys = path.strip("/").split("/")
        if first == "config":
            return [one for one in keys if one]
        where = [found for id_, found in _ids(self.root, []) if id_ == keys[0]]
        if not where:
            raise Refused(404, f"unknown object ID '{keys[0]}'")
        return [*where[-1], *keys[1:]]

    def _get(self, keys: list[str]) -> Any:
        value = self.root
        for key in keys:
            if value is None:
                raise Refused(400, "invalid traversal path")
            value = value[int(key)] if isinstance(value, list) else value.get(key)
        return value

    def _check(self, root: Any) -> None:
        """Raise ``Refused`` for what Caddy does not load."""
        apps = (root or {}).get("apps") or {}
        self._check_words(json.dumps(root))
        seen: dict[str, str] = {}
        for name, server in ((apps.get("http") or {}).get("servers") or {}).items():
            for address in server.get("listen", []):
                if address in seen:
                    raise Refused(500, f"server {name}: listener address repeated: {address}")
                if int(address.rpartition(":")[2]) in self.taken:
                    raise Refused(500, f"listening on {address}: address already in use")
                seen[address] = name
        names: set[str] = set()
        tls = ((apps.get("tls") or {}).get("automation") or {}).get("policies") or []
        for policy in tls:
            subjects = policy.get("subjects", [])
            if double := names & set(subjects):
                raise Refused(500, f"more than one automation policy to host: {double}")
            names |= set(subjects)

    def _check_words(self, text: str) -> None:
        if wrong := next((word for word in self.refused if word in text), ""):
            raise Refused(500, f"loading a module: {wrong} is not valid")
        if not self.knows_streams and "stream_close_delay" in text:
            raise Refused(500, f'{"loading a module: " * 50}unknown field "stream_close_delay"')


def _ids(value: Any, at: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield all identifiers with their paths."""
    if isinstance(value, dict):
        if ID in value:
            yield value[ID], at
        for key, inner in value.items():
            yield from _ids(inner, [*at, key])
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _ids(inner, [*at, str(number)])


def _changed(root: Any, keys: list[str], method: str, value: Any) -> Any:
    """Return the root after a change."""
    if not keys:
        if method != "POST":
            raise Refused(500, "only POST is tried for the root")
        return value
    parent = root
    for key in keys[:-1]:
        try:
            parent = parent[int(key)] if isinstance(parent, list) else parent[key]
        except (KeyError, TypeError, IndexError, ValueError):
            raise Refused(500, "invalid traversal path") from None
    if isinstance(parent, list):
        _change_array(parent, int(keys[-1]), method, value)
    elif isinstance(parent, dict):
        _change_object(parent, keys[-1], method, value)
    else:
        raise Refused(500, "invalid traversal path")
    return root


def _change_array(parent: list[Any], at: int, method: str, value: Any) -> None:
    if at >= len(parent):
        raise Refused(500, f"array index out of bounds: {at}")
    match method:
        case "PUT":
            parent.insert(at, value)
        case "PATCH":
            parent[at] = value
        case "DELETE":
            del parent[at]
        case _:
            raise Refused(405, "method not allowed")


def _change_object(parent: dict[str, Any], key: str, method: str, value: Any) -> None:
    if method == "PUT" and key in parent:
        raise Refused(409, f"key already exists: {key}")
    if method in ("PATCH", "DELETE") and key not in parent:
        raise Refused(404, f"key does not exist: {key}")
    if method == "POST" and isinstance(parent.get(key), list):
        parent[key].append(value)
    elif method == "DELETE":
        del parent[key]
    else:
        parent[key] = value
