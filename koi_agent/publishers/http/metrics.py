"""Our own counts in Prometheus's text format, or OpenMetrics's where that is asked for."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from koi_agent.core.events import BackendState, BackendStatus
from koi_agent.core.instance import Instance

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Value = int | float
Sample = tuple[Mapping[str, str], Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric with all its values; a counter's name is written with ``_total`` at its end."""

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]


def of_backends(
    backends: Iterable[BackendStatus], states: Mapping[tuple[str, str], int]
) -> list[Family]:
    """Count what is known of backends; ``states`` counts instances by backend and state."""
    every = list(backends)
    return [
        Family(
            name="koi_instances",
            kind="gauge",
            help="Instances that are tracked.",
            samples=[({"backend": b, "state": s}, n) for (b, s), n in sorted(states.items())],
        ),
        Family(
            name="koi_backend_up",
            kind="gauge",
            help="Whether what is known of a backend is current.",
            samples=[({"backend": b.name}, int(b.state is BackendState.SYNCED)) for b in every],
        ),
        Family(
            name="koi_backend_reconnects",
            kind="counter",
            help="Times a backend was lost and found again.",
            samples=[({"backend": b.name}, b.reconnects) for b in every],
        ),
        Family(
            name="koi_drift",
            kind="counter",
            help="Differences that a periodic look found and no event had told.",
            samples=[({"backend": b.name}, b.drift) for b in every],
        ),
    ]


def of_announcements(instances: Iterable[Instance]) -> Family:
    """Count what became of the records that instances ask for."""
    counted = Counter(
        (one.capability, one.provider, str(one.state))
        for instance in instances
        for one in instance.announcements
    )
    return Family(
        name="koi_announcements",
        kind="gauge",
        help="Records that instances ask for, by what became of them.",
        samples=[
            ({"capability": c, "provider": p, "status": s}, n)
            for (c, p, s), n in sorted(counted.items())
        ],
    )


def family(name: str, kind: str, said: str, label: str, values: Mapping[str, Value]) -> Family:
    """Make a metric with one label."""
    samples = [({label: key}, value) for key, value in sorted(values.items())]
    return Family(name=name, kind=kind, help=said, samples=samples)


def plain(name: str, kind: str, said: str, value: Value) -> Family:
    """Make a metric without labels."""
    return Family(name=name, kind=kind, help=said, samples=[({}, value)])


def delay(count: int, total: float) -> Family:
    """Make the summary of how long events waited for their streams."""
    return Family(
        name="koi_event_delay_seconds",
        kind="summary",
        help="Time from an event to its being written to an open stream.",
        samples=[({"": "_count"}, count), ({"": "_sum"}, total)],
    )


def text(families: Iterable[Family], *, openmetrics: bool) -> bytes:
    """Write metrics down."""
    lines = [line for family in families for line in _lines(family, openmetrics=openmetrics)]
    return "".join(f"{line}\n" for line in [*lines, *["# EOF"][: int(openmetrics)]]).encode()


def _lines(family: Family, *, openmetrics: bool) -> Iterator[str]:
    counted = f"{family.name}_total" if family.kind == "counter" else family.name
    named = family.name if openmetrics else counted
    yield f"# HELP {named} {family.help}"
    yield f"# TYPE {named} {family.kind}"
    for labels, value in family.samples:
        name = counted + labels.get("", "")
        shown = ",".join(f'{label}="{escaped(said)}"' for label, said in labels.items() if label)
        yield f"{name}{{{shown}}} {value}" if shown else f"{name} {value}"


def escaped(said: str) -> str:
    r"""Escape a label's value: ``\``, ``"`` and the line feed; what UTF-8 lacks becomes ``?``."""
    value = said.encode(errors="replace").decode()
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def wants_openmetrics(accept: str) -> bool:
    """Tell whether an Accept header prefers OpenMetrics: it names it, and not with weight 0."""
    for offer in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in offer.split(";"))
        if kind == "application/openmetrics-text":
            return not any(p in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for p in parameters)
    return False
