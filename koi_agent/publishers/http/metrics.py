"""The agent's own metrics, in Prometheus's text format or in OpenMetrics."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from koi_agent.core.events import BackendState, BackendStatus
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import Instance

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Value = int | float
Sample = tuple[Mapping[str, str], Value]
"""Labels and value. The label "" has a suffix of the metric's name."""


@frozen(kw_only=True)
class Family:
    """A metric with its samples; the name of a counter is written with ``_total`` at its end."""

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]


def backend_families(
    backends: Iterable[BackendStatus], states: Mapping[tuple[str, str], int]
) -> list[Family]:
    """Return the metrics of backends; ``states`` counts instances by backend and state."""
    statuses = list(backends)
    return [
        Family(
            name="koi_instances",
            kind="gauge",
            help="Tracked instances.",
            samples=[({"backend": b, "state": s}, n) for (b, s), n in sorted(states.items())],
        ),
        Family(
            name="koi_backend_up",
            kind="gauge",
            help="1 if the backend is synced.",
            samples=[({"backend": b.name}, int(b.state is BackendState.SYNCED)) for b in statuses],
        ),
        Family(
            name="koi_backend_reconnects",
            kind="counter",
            help="Times that the connection to a backend was restored.",
            samples=[({"backend": b.name}, b.reconnects) for b in statuses],
        ),
        Family(
            name="koi_drift",
            kind="counter",
            help="Differences that a periodic list found without an event.",
            samples=[({"backend": b.name}, b.drift) for b in statuses],
        ),
    ]


def announcement_family(instances: Iterable[Instance]) -> Family:
    """Return the metric of the records that instances request, by their status."""
    counts = Counter(
        (record.capability, record.provider, str(record.state))
        for instance in instances
        for record in instance.announcements
    )
    return Family(
        name="koi_announcements",
        kind="gauge",
        help="Records that instances request, by status.",
        samples=[
            ({"capability": c, "provider": p, "status": s}, n)
            for (c, p, s), n in sorted(counts.items())
        ],
    )


def labelled(name: str, kind: str, text: str, label: str, values: Mapping[str, Value]) -> Family:
    """Return a metric with one label."""
    samples = [({label: key}, value) for key, value in sorted(values.items())]
    return Family(name=name, kind=kind, help=text, samples=samples)


def unlabelled(name: str, kind: str, text: str, value: Value) -> Family:
    """Return a metric without labels."""
    return Family(name=name, kind=kind, help=text, samples=[({}, value)])


def delay_summary(count: int, total: float) -> Family:
    """Return the metric of the time that events waited for their streams, in seconds."""
    return Family(
        name="koi_event_delay_seconds",
        kind="summary",
        help="Time from an event until it is written to an open stream.",
        samples=[({"": "_count"}, count), ({"": "_sum"}, total)],
    )


def encode(families: Iterable[Family], *, openmetrics: bool) -> bytes:
    """Encode metrics in OpenMetrics or in Prometheus's text format."""
    lines = [line for family in families for line in _lines(family, openmetrics=openmetrics)]
    if openmetrics:
        lines.append("# EOF")
    return "".join(f"{line}\n" for line in lines).encode()


def _lines(family: Family, *, openmetrics: bool) -> Iterator[str]:
    sample_name = f"{family.name}_total" if family.kind == "counter" else family.name
    family_name = family.name if openmetrics else sample_name
    yield f"# HELP {family_name} {family.help}"
    yield f"# TYPE {family_name} {family.kind}"
    for labels, value in family.samples:
        name = sample_name + labels.get("", "")
        pairs = ",".join(f'{label}="{escape(text)}"' for label, text in labels.items() if label)
        yield f"{name}{{{pairs}}} {value}" if pairs else f"{name} {value}"


def escape(text: str) -> str:
    r"""Escape ``\``, ``"`` and line feed in a label's value; replace what UTF-8 lacks by ``?``."""
    value = text.encode(errors="replace").decode()
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def prefers_openmetrics(accept: str) -> bool:
    """Return True if an Accept header names OpenMetrics with a weight above 0."""
    for media_range in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in media_range.split(";"))
        if kind == "application/openmetrics-text":
            return not any(p in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for p in parameters)
    return False
