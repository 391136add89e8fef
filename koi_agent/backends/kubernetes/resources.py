"""The collections that are followed, and where their objects are kept."""

from collections.abc import Callable, Mapping, Set
from dataclasses import field
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from koi_agent.backends.http_engine.json_fields import JSONObject
from koi_agent.backends.kubernetes.api import API, Query
from koi_agent.backends.kubernetes.collection import Collection, Complain
from koi_agent.backends.kubernetes.events import Event, EventType
from koi_agent.backends.kubernetes.exposures import Exposures
from koi_agent.backends.kubernetes.numbers import Numbers
from koi_agent.backends.kubernetes.pods import parse_pod
from koi_agent.backends.kubernetes.records import get_uid, get_version
from koi_agent.backends.kubernetes.rights import PODS, SERVICES, SLICES
from koi_agent.backends.kubernetes.scope import Scope
from koi_agent.backends.kubernetes.services import parse_service, parse_slice
from koi_agent.backends.kubernetes.table import PodTable
from koi_agent.core.contracts import Deliver
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.host.listeners import ListenerTable
from koi_agent.host.owner_ports import HostPorts

V = TypeVar("V")


class Store(Protocol[V]):
    """The objects of one collection; see ``Kept`` and ``PodTable``."""

    def known(self, uid: str, version: int) -> V | None: ...
    def apply(self, uid: str, value: V, /) -> None: ...
    def remove(self, uid: str, version: int) -> None: ...
    def begin_list(self) -> None: ...
    def end_list(self) -> None: ...
    def apply_list(
        self, listed: Mapping[str, V | None], version: int, *, is_whole: bool = True
    ) -> frozenset[str]: ...


@frozen(kw_only=True)
class Resource(Generic[V]):
    """One collection, and what its records become; ``is_required`` is True for pods."""

    path: str
    collection: Collection
    store: Store[V]
    parse: Callable[[JSONObject], V]
    is_required: bool = field(default=False)


class Found(Generic[V]):
    """The objects of a list, by UID; None stands for a record that could not be parsed.

    Those that are ``known`` at the same version are not parsed again. ``is_whole`` is False if
    there are records of which not even the UID is known.
    """

    def __init__(
        self,
        known: Callable[[str, int], V | None],
        parse: Callable[[JSONObject], V],
        complain: Complain,
    ) -> None:
        self.objects: dict[str, V | None] = {}
        self.is_whole = True
        self._known = known
        self._parse = parse
        self._complain = complain

    def add(self, record: JSONObject) -> None:
        """Parse a record. A bad one does not affect the others."""
        try:
            uid = get_uid(record)
        except BadInput as bad:
            self.lose(bad)
            return
        try:
            self.objects[uid] = self._known(uid, get_version(record)) or self._parse(record)
        except BadInput as bad:
            self._complain(f"object {uid}", bad)
            self.objects[uid] = None

    def discard(self, record: JSONObject) -> None:
        """Remove an object that was deleted while the list was read."""
        try:
            self.objects.pop(get_uid(record), None)
        except BadInput as bad:
            self._complain("a listed object", bad)

    def lose(self, bad: BadInput) -> None:
        """Register that an object can't be read. It is not known which one."""
        self._complain("a listed object", bad)
        self.is_whole = False

    def clear(self) -> None:
        """Remove all objects, because the list begins again."""
        self.objects.clear()
        self.is_whole = True


@frozen(kw_only=True)
class Lasting:
    """The state that outlives a connection: numbers by the part of a path for a namespace."""

    numbers: dict[str, Numbers]
    listeners: ListenerTable


class Resources:
    """All collections: Services and their slices before the pods, which get ports from them.

    ``lasting`` is that of the previous connection. ``ports`` finds what pods on the host's network
    listen on.
    """

    def __init__(self, api: API, scope: Scope, lasting: Lasting, deliver: Deliver) -> None:
        self.ports = HostPorts(lasting.listeners, lambda uid: self._refresh({uid}))
        self.exposures = Exposures(self._refresh, scope.namespaced)
        self.tables: list[PodTable] = []
        self.all: list[Resource[Any]] = []
        self._api = api
        node = scope.watched_node
        for part in scope.namespaced:
            held = lasting.numbers.setdefault(part, Numbers())
            table = PodTable(scope.backend, held, self.ports, deliver, self.exposures.exposed)
            self.tables.append(table)
            self._add(SERVICES.path(part), {}, self.exposures.services[part], parse_service)
            slices = partial(parse_slice, node=node)
            self._add(SLICES.path(part), {}, self.exposures.slices[part], slices)
            pods = partial(parse_pod, place=scope.place)
            self._add(PODS.path(part), scope.query, table, pods, is_required=True)

    def _add(
        self,
        path: str,
        query: Query,
        store: Store[V],
        parse: Callable[[JSONObject], V],
        *,
        is_required: bool = False,
    ) -> None:
        def apply(event: Event) -> None:
            """Apply an event; raise ``BadInput``."""
            uid = get_uid(event.record)
            if event.type is EventType.DELETED:
                store.remove(uid, get_version(event.record))
            else:
                store.apply(uid, parse(event.record))

        collection = Collection(self._api, path, query, apply)
        self.all.append(
            Resource(
                path=path,
                collection=collection,
                store=store,
                parse=parse,
                is_required=is_required,
            )
        )

    def _refresh(self, ids: Set[str]) -> None:
        for table in self.tables:
            table.refresh(ids)
