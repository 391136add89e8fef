"""Text for a terminal: ports, states and values of records."""

from collections.abc import Iterator, Mapping
from operator import itemgetter
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
"""The style of each state; other words are plain."""


def style(word: str) -> Style:
    return STYLES.get(word, Style.PLAIN)


def quiet_style(word: str) -> Style:
    """Return the style of a word in a table, where a good state is plain."""
    chosen = style(word)
    return Style.PLAIN if chosen is Style.GOOD else chosen


def state(record: Record) -> str:
    """Format an instance's state, with a mark if it is stale."""
    shown = f"{record['state']} (stale)" if record["stale"] else record["state"]
    return str(shown)


def detailed(word: str, detail: str | None) -> str:
    """Format a word with its detail, if there is one."""
    return f"{word} ({detail})" if detail else word


def announcements(record: Record) -> Iterator[str]:
    """Yield a line for each record: its name, its status, its provider and the reason."""
    for each in record["announcements"]:
        provider = each["provider"] or each["capability"]
        reason = f": {each['reason']}" if each["reason"] else ""
        yield f"{each['name']} ({each['status']}, {provider}){reason}"


def refused(refusal: Record) -> str:
    """Format a refused key as ``KEY: REASON``, with the use that is refused if there is one."""
    part = f"{refusal['part']} refused: " if refusal["part"] else ""
    return f"{refusal['key']}: {part}{refusal['reason']}"


def short_ports(record: Record) -> list[str]:
    """Format ports as ``8080->80/tcp`` or ``80/tcp``; one bound to several addresses once.

    Ports at the addresses of a cluster are left out, because no other host reaches them.
    """
    shown = (port for port in record["ports"] if port.get("source") != "cluster")
    ports = sorted(shown, key=itemgetter("container_port"))
    return list(dict.fromkeys(_short_port(port) for port in ports))


def _short_port(port: Record) -> str:
    host, container = port["host_port"], port["container_port"]
    port_and_protocol = f"{container}/{port['protocol']}"
    return port_and_protocol if host in (0, container) else f"{host}->{port_and_protocol}"


def long_ports(record: Record) -> Iterator[str]:
    """Yield a line for each port: its address, its source and its service type."""
    for port in record["ports"]:
        yield f"{address(port)} ({', '.join(filter(None, (port['source'], port['type'])))})"


def address(port: Record) -> str:
    """Format the address of a port: ``0.0.0.0:8080 -> 80/tcp``."""
    ip, host, container = port["host_ip"], port["host_port"], port["container_port"]
    bound = f"[{ip}]:" if ":" in ip else f"{ip}:" if ip else ""
    ports = f"{bound}{container}" if host in (0, container) else f"{bound}{host} -> {container}"
    return f"{ports}/{port['protocol']}"


def join(address: str, port: object) -> str:
    """Format an address and a port as in a URL."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def metadata(values: Record, prefix: str = "") -> Iterator[str]:
    """Yield a line ``key=value`` for each value; nested keys are joined by dots."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from metadata(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={value_of(value)}"


def value_of(value: object) -> str:
    """Format a JSON value; "-" stands for ``null``."""
    if value is None:
        return "-"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
