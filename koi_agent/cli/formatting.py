"""How records are put for people: ports, states and times, in few words."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from koi_agent.cli.output import Style

Record = Mapping[str, Any]

STYLES = {
    "running": Style.GOOD,
    "synced": Style.GOOD,
    "healthy": Style.GOOD,
    "paused": Style.WARNING,
    "restarting": Style.WARNING,
    "starting": Style.WARNING,
    "connecting": Style.WARNING,
    "reloading": Style.WARNING,
    "degraded": Style.WARNING,
    "stale": Style.WARNING,
    "failed": Style.BAD,
    "unhealthy": Style.BAD,
    "absent": Style.GREY,
    "none": Style.GREY,
}
"""How the words for states stand out; ordinary ones in tables do not."""

SPANS = ((31_557_600, "y"), (86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def style(word: str) -> Style:
    return STYLES.get(word, Style.PLAIN)


def quiet_style(word: str) -> Style:
    """Style a word in a table, where what is as it should be does not stand out."""
    chosen = style(word)
    return Style.PLAIN if chosen is Style.GOOD else chosen


def state(record: Record) -> str:
    """Put an instance's state into words."""
    shown = f"{record['state']} (stale)" if record["stale"] else record["state"]
    return str(shown)


def detailed(word: str, detail: str | None) -> str:
    """Put a word and what is known beyond it."""
    return f"{word} ({detail})" if detail else word


def announcements(record: Record) -> Iterator[str]:
    """Say of each record where it stands, and why unless all is as asked for."""
    for one in record["announcements"]:
        by = one.get("provider") or one.get("capability")
        reason = f": {one['reason']}" if one.get("reason") else ""
        yield f"{one.get('name')} ({one.get('status')}, {by}){reason}"


def short_ports(record: Record) -> str:
    """List ports as ``8080->80/tcp`` or ``80/tcp``, each once however often it is bound."""
    ports = sorted(record["ports"], key=lambda port: str(port.get("container_port", "")).zfill(5))
    return ",".join(dict.fromkeys(_short(port) for port in ports))


def _short(port: Record) -> str:
    outside, inside = port.get("host_port", 0), port.get("container_port", 0)
    to = f"{inside}/{port.get('protocol', '')}"
    return to if outside in (0, inside) else f"{outside}->{to}"


def long_ports(record: Record) -> Iterator[str]:
    """Say of each port where it is bound, how it is known and what it would be announced as."""
    for port in record["ports"]:
        known = (port.get("source"), port.get("type"))
        yield f"{way(port)} ({', '.join(str(k) for k in known if k)})"


def way(port: Record) -> str:
    """Say where a port is bound: ``0.0.0.0:8080 -> 80/tcp``."""
    host = str(port.get("host_ip", ""))
    bound = f"[{host}]:" if ":" in host else f"{host}:" if host else ""
    inside, outside = port.get("container_port", 0), port.get("host_port", 0)
    to = f"{bound}{outside} -> {inside}" if outside not in (0, inside) else f"{bound}{inside}"
    return f"{to}/{port.get('protocol', '')}"


def metadata(values: Record, prefix: str = "") -> Iterator[str]:
    """Write metadata as one ``key=value`` a line; nested keys are joined by dots."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from metadata(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={value_of(value)}"


def value_of(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def since(stamp: str | None) -> str:
    """Put a time as ``Tue 2026-05-12 10:00:00 CEST; 2h 3min ago``, nothing where not known."""
    if not stamp:
        return ""
    local = datetime.fromisoformat(stamp).astimezone().strftime("%a %Y-%m-%d %H:%M:%S %Z")
    return f"{local}; {ago(stamp)}"


def ago(stamp: str | None) -> str:
    """Put a time as ``2h 3min ago``, nothing where not known."""
    return (
        f"{span(int((now() - datetime.fromisoformat(stamp)).total_seconds()))} ago" if stamp else ""
    )


def span(seconds: int) -> str:
    """Put a span of time into its two largest units."""
    parts: list[str] = []
    left = max(seconds, 0)
    for size, unit in SPANS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(filter(None, parts)) or "0s"


def now() -> datetime:
    return datetime.now(UTC)
