"""Short constructors of instances and changes, and a reader that replays events."""

from collections.abc import Iterable, Mapping

from koi_agent.core.events import Event, Gone, Listing, Started, Stopped, Updated
from koi_agent.core.instance import Instance, InstanceState, KoiMetadata
from koi_agent.core.key import Key
from koi_agent.core.traits import UNIT


def unit(
    name: str, detail: str = "active/running", *, group: str = "", awaits: str = "", koi: str = ""
) -> Instance:
    return Instance(
        id=name,
        name=name.removesuffix(".service"),
        backend="systemd",
        state=InstanceState.RUNNING,
        state_detail=detail,
        unit=name,
        control_group=group,
        awaits=awaits,
        traits=UNIT,
        metadata=KoiMetadata(name=koi or None),
    )


def container(
    id_: str, detail: str = "running", *, claims: str = "", group: str = "", koi: str = ""
) -> Instance:
    return Instance(
        id=id_,
        name=id_,
        backend="podman",
        state=InstanceState.RUNNING,
        state_detail=detail,
        unit=claims,
        control_group=group,
        metadata=KoiMetadata(name=koi or None),
    )


def listing(
    backend: str, *instances: Instance, touched: Iterable[str] = (), drifted: Iterable[str] = ()
) -> Listing:
    return Listing(
        backend=backend,
        instances=instances,
        touched=frozenset(touched),
        drifted=frozenset(drifted),
    )


def gone(instance: Instance, reason: str = "stopped") -> Gone:
    return Gone(backend=instance.backend, id=instance.id, reason=reason)


class Reader:
    """Rebuilds the visible instances from events; fails if an event contradicts them."""

    def __init__(self, known: Mapping[Key, Instance] | None = None) -> None:
        self.known = dict(known or {})

    def read(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case Started(new):
                    assert new.key not in self.known, f"{new.key} started twice"
                    self.known[new.key] = new
                case Updated(old, new):
                    assert self.known[old.key] == old, f"{old.key} was not that"
                    assert new.key == old.key
                    self.known[new.key] = new
                case Stopped(old):
                    assert self.known.pop(old.key) == old, f"{old.key} was not that"
                case _:
                    pass


def short_forms(events: Iterable[Event]) -> list[str]:
    """Return events of instances in short form: ``+a`` started, ``~a`` updated, ``-a`` stopped."""
    brief = []
    for event in events:
        match event:
            case Started(instance):
                brief.append(f"+{instance.id}")
            case Updated(new=instance):
                brief.append(f"~{instance.id}")
            case Stopped(instance):
                brief.append(f"-{instance.id}")
            case _:
                pass
    return brief
