"""How events and lists change the pods of one collection: of the cluster, or of a namespace.

Objects, lists and deletions have versions, which grow with each change of the cluster. They show
whether an event or a list is newer. Nothing here waits.
"""

from collections.abc import Callable, Iterator, Mapping, Set
from operator import attrgetter
from typing import Final

from koi_agent.backends.kubernetes.numbers import Numbers
from koi_agent.backends.kubernetes.pods import Pod
from koi_agent.core.contracts import Deliver
from koi_agent.core.events import Gone, GoneReason, Seen
from koi_agent.core.instance import Instance, copied
from koi_agent.core.ports import with_sockets
from koi_agent.host.owner_ports import HostPorts

_ENDED: Final = "ended"
Exposed = Callable[[Pod], Instance]


class PodTable:
    """Keeps pods up to date; ``deliver`` gets each change as an instance of ``backend``.

    ``numbers`` are those of this collection, and outlive the connection. ``ports`` finds what
    pods on the host's network listen on. ``exposed`` adds to an instance what Services do.
    """

    def __init__(
        self,
        backend: str,
        numbers: Numbers,
        ports: HostPorts,
        deliver: Deliver,
        exposed: Exposed,
    ) -> None:
        self._backend = backend
        self._numbers = numbers
        self._ports = ports
        self._deliver = deliver
        self._exposed = exposed
        self._pods: dict[str, Pod] = {}
        self._listed = 0
        self._named: dict[str, int] | None = None
        """The pods delivered since ``begin_list``, with the versions of their events, or 0."""

    def instances(self) -> Iterator[Instance]:
        """Yield what is known to run; other tasks may run in between."""
        for id_ in list(self._pods):
            if pod := self._pods.get(id_):
                yield self._instance(pod)

    def known(self, uid: str, version: int) -> Pod | None:
        """Return a pod if it is known at this version."""
        pod = self._pods.get(uid)
        return pod if pod is not None and pod.version == version else None

    def refresh(self, ids: Set[str]) -> None:
        """Deliver the pods among some ids again: their Services or their ports have changed."""
        for id_ in ids & self._pods.keys():
            self._publish(id_, _ENDED)

    # Events

    def apply(self, id_: str, pod: Pod) -> None:
        """Apply an event that a pod was added or changed.

        An event that is older than the last list is known from that already.
        """
        self._note(id_, pod.version)
        if pod.version > self._listed and self._is_newer(pod):
            if pod.is_here:
                self._put(pod)
            else:
                self._forget(id_)
        self._publish(id_, _ENDED)

    def remove(self, uid: str, version: int) -> None:
        """Apply an event that a pod was deleted, or no longer matches what is watched.

        This is final: no other pod gets its id, and an ended pod never starts again.
        """
        self._note(uid, version)
        self._forget(uid)
        self._publish(uid, GoneReason.REMOVED)

    def _is_newer(self, pod: Pod) -> bool:
        """Return False for a repeated or late event."""
        known = self._pods.get(pod.instance.id)
        return known is None or pod.version > known.version

    def _note(self, id_: str, version: int) -> None:
        if self._named is not None:
            self._named[id_] = max(version, self._named.get(id_, 0))

    def _publish(self, id_: str, reason: str) -> None:
        """Deliver a pod as it is known, even if an event changed nothing: it explains a list."""
        self._note(id_, 0)
        if pod := self._pods.get(id_):
            self._deliver(Seen(self._instance(pod)))
        else:
            self._deliver(Gone(backend=self._backend, id=id_, reason=reason))

    def _instance(self, pod: Pod) -> Instance:
        """Return the instance of a pod, with the ports that it listens on and is reached at."""
        instance = self._exposed(pod)
        if not pod.uses_host:
            return instance
        listening = self._ports.ports_of(instance.id)
        return copied(instance, ports=with_sockets(instance.ports, listening))

    # Lists

    def begin_list(self) -> None:
        """Record what is delivered from now on: some events are newer than the list."""
        self._named = {}

    def end_list(self) -> None:
        """Stop recording."""
        self._named = None

    def apply_list(
        self, listed: Mapping[str, Pod | None], version: int, *, is_whole: bool = True
    ) -> frozenset[str]:
        """Apply a list of this version; return the ids for which it does not count.

        None stands for a record that could not be parsed: its known pod stays. If the list is
        not whole, a pod that is not in it may run, and stays too.
        """
        named, self._listed = self._named or {}, version
        newer = frozenset(id_ for id_, of_event in named.items() if of_event > version)
        found = [pod for id_, pod in listed.items() if pod and id_ not in newer]
        here = {pod.instance.id for pod in found if pod.is_here}
        unread = {id_ for id_, pod in listed.items() if pod is None}
        if is_whole:
            self._numbers.keep(here | unread | newer)
        else:
            unread |= self._pods.keys() - listed.keys()
        # Thousands of pods may be unchanged: putting them again would block the event loop.
        changed = [
            pod for pod in found if pod.is_here and not self.known(pod.instance.id, pod.version)
        ]
        for pod in sorted(changed, key=lambda pod: (pod.instance.created_at, pod.instance.id)):
            self._put(pod)
        for id_ in self._pods.keys() - here - unread - newer:
            self._forget(id_)
        for id_ in named.keys() - newer:
            self._publish(id_, _ENDED)
        return newer

    def _put(self, pod: Pod) -> None:
        number = self._numbers.number(pod)
        instance = copied(pod.instance, replica=number)
        if known := self._pods.get(instance.id):
            instance = copied.sharing(instance, known.instance)
        self._follow_ports(pod)
        self._pods[instance.id] = Pod(
            instance=instance,
            version=pod.version,
            owner=pod.owner,
            number=pod.number,
            is_local=pod.is_local,
            uses_host=pod.uses_host,
            node_ips=pod.node_ips,
        )

    def _follow_ports(self, pod: Pod) -> None:
        """Scan for the ports of a pod on the host's network, again after a start of a container."""
        known, instance = self._pods.get(pod.instance.id), pod.instance
        if not pod.uses_host or not instance.control_group:
            self._ports.forget(instance.id)
        elif known is None or _scanned(known.instance) != _scanned(instance):
            self._ports.follow(instance.id, instance.control_group, instance.metadata)

    def _forget(self, id_: str) -> None:
        self._pods.pop(id_, None)
        self._ports.forget(id_)
        self._numbers.release(id_)


_scanned = attrgetter("control_group", "metadata", "state")
"""The facts that a scan for ports depends on."""
