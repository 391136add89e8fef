"""How events and lists change the pods of one collection: of the cluster, or of a namespace.

Objects, lists and deletions have versions, which grow with each change of the cluster. So it is
known which of two is newer, an event or a list. Nothing here waits.
"""

from collections.abc import Callable, Iterator, Mapping, Set
from typing import Final

from koi_agent.backends.kubernetes.numbers import Numbers
from koi_agent.backends.kubernetes.pods import Pod
from koi_agent.core.contracts import Deliver
from koi_agent.core.events import Gone, GoneReason, Seen
from koi_agent.core.instance import Instance, copied

_ENDED: Final = "ended"
Exposed = Callable[[Pod], Instance]


class PodTable:
    """Keeps pods up to date; ``deliver`` gets each change as an instance of ``backend``.

    ``numbers`` are those of this collection, and outlive the connection. ``exposed`` adds to an
    instance what Services do.
    """

    def __init__(self, backend: str, numbers: Numbers, deliver: Deliver, exposed: Exposed) -> None:
        self._backend = backend
        self._numbers = numbers
        self._deliver = deliver
        self._exposed = exposed
        self._pods: dict[str, Pod] = {}
        self._listed = 0
        self._named: dict[str, int] | None = None  # versions of events since ``begin_list``

    def instances(self) -> Iterator[Instance]:
        """Yield what is known to run; other tasks may run in between."""
        for id_ in list(self._pods):
            if pod := self._pods.get(id_):
                yield self._exposed(pod)

    def known(self, uid: str, version: int) -> Pod | None:
        """Return a pod if it is known at this version."""
        pod = self._pods.get(uid)
        return pod if pod is not None and pod.version == version else None

    def refresh(self, ids: Set[str]) -> None:
        """Deliver the pods among some ids again: their Services have changed."""
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

        This is final: no other pod gets its id, and none that has ended starts again.
        """
        self._note(uid, version)
        self._forget(uid)
        self._publish(uid, GoneReason.REMOVED)

    def _is_newer(self, pod: Pod) -> bool:
        """Return False for an event that came twice, or late."""
        known = self._pods.get(pod.instance.id)
        return known is None or pod.version > known.version

    def _note(self, id_: str, version: int) -> None:
        if self._named is not None:
            self._named[id_] = max(version, self._named.get(id_, 0))

    def _publish(self, id_: str, reason: str) -> None:
        """Deliver a pod as it is known, also if an event changed nothing: it explains a list."""
        if pod := self._pods.get(id_):
            self._deliver(Seen(self._exposed(pod)))
        else:
            self._deliver(Gone(backend=self._backend, id=id_, reason=reason))

    # Lists

    def begin_list(self) -> None:
        """Record the events that come from now on: some of them are newer than the list."""
        self._named = {}

    def end_list(self) -> None:
        """Stop recording events."""
        self._named = None

    def apply_list(
        self, listed: Mapping[str, Pod | None], version: int, *, is_whole: bool = True
    ) -> frozenset[str]:
        """Apply a list of this version; return the ids for which it does not count.

        None stands for a record that could not be parsed: what is known of it stays. If the list is
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
        # Thousands of pods are as they were: putting them again would block the event loop.
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
        self._pods[instance.id] = Pod(
            instance=instance,
            version=pod.version,
            owner=pod.owner,
            number=pod.number,
            is_local=pod.is_local,
        )

    def _forget(self, id_: str) -> None:
        self._pods.pop(id_, None)
        self._numbers.release(id_)
