"""``koi-runtime explain``: why instances are announced, or not."""

from collections.abc import Iterator
from typing import Any, Final

from koi_agent.cli import formatting, records, resolve
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import Client, key_at
from koi_agent.cli.output import Output, Style
from koi_agent.core.schema.dictionaries import PORT
from koi_agent.core.text import bounded, printable

BY = {
    "explicit": "its own metadata sets enable",
    "announce": "its own metadata sets announce",
    "environment": "its environment sets KOI_MDNS_ANNOUNCE",
    "partner": "its labels for a reverse proxy name a host or a port",
}
"""The source of the decision to opt in or out, by ``enabled_by``."""
MOST_LINES: Final = 100
"""Lines of one kind; metadata can cause thousands."""
HTTP_TYPES = ("_http._tcp", "_https._tcp")
UNKNOWN_TYPE = "_koi-managed."


def act(arguments: Arguments, output: Output) -> int:
    return resolve.write_each(arguments, output, record, block)


def record(client: Client, path: str) -> dict[str, Any]:
    """Return the explanation of an instance, as the agent sends it."""
    return dict(client.explanation(":".join(key_at(path))))


def block(explanation: formatting.Record, output: Output) -> str:
    """Format an explanation, a line for each rule."""
    enabled = explanation.get("enabled") is True
    dot = output.styled(output.dot, Style.GOOD if enabled else Style.GREY)
    title = f"{records.text(explanation, 'name')} ({records.text(explanation, 'key')})"
    rules = (f"  {printable(line)}" for line in lines(explanation))
    return "\n".join([f"{dot} {printable(title)}", *rules])


def lines(explanation: formatting.Record) -> Iterator[str]:
    """Yield whether the instance opted in, its ports, each decision, and what was refused."""
    for reason in records.items(explanation, "reasons"):
        yield str(reason)
    metadata = records.mapping(explanation, "metadata")
    if by := BY.get(records.text(explanation, "enabled_by")):
        yield f"because {by}"
    elif "enable" not in metadata:
        yield f"to opt it in: {records.text(explanation, 'opt_in') or 'koi.enable=true'}"
    ports = [PORT.record(port) for port in records.dicts(explanation, "ports")]
    of_ports = [
        f"port {formatting.address(port)}, {port['source']}: {type_of(port, metadata)}"
        for port in ports
    ]
    yield from bounded(of_ports, MOST_LINES, _hint(explanation))
    if not ports:
        yield "no port is known"
    yield from reach(explanation)
    yield from by_capability(explanation)
    notes = [f"note: {note}" for note in records.items(explanation, "notes")]
    yield from bounded(notes, MOST_LINES, _hint(explanation))


def reach(explanation: formatting.Record) -> Iterator[str]:
    """Yield from where other hosts reach each port, and why they do not reach others."""
    for port in records.dicts(explanation, "reachable"):
        places = [
            f"{place['interface']} {formatting.join(str(place['address']), place['port'])}"
            for place in records.dicts(port, "places")
        ]
        where = ", ".join(places) or "on no network at present"
        missing = [
            f"not on {link['interface']} ({link['reason']})"
            for link in records.dicts(port, "not_on")
        ]
        yield "; ".join([f"reachable, port {port['port']}: {where} ({port['source']})", *missing])
    for port in records.dicts(explanation, "unreachable"):
        yield f"not reachable by other hosts, port {port['port']}: {port['reason']}"


def by_capability(explanation: formatting.Record) -> Iterator[str]:
    """Yield refused keys and decisions: the common ones first, then those of each capability."""
    groups: dict[str, list[str]] = {"": []}
    for refusal in records.refusals(explanation):
        groups.setdefault(refusal["capability"], []).append(refused(refusal))
    for decision in records.dicts(explanation, "decisions"):
        outcome, about = records.text(decision, "outcome"), records.text(decision, "about")
        line = f"{outcome}, {about}: {records.text(decision, 'reason')}"
        groups.setdefault(records.text(decision, "capability"), []).append(line)
    hint = _hint(explanation)
    yield from bounded(groups.pop(""), MOST_LINES, hint)
    for capability, lines in groups.items():
        yield f"{capability}:"
        yield from (f"  {line}" for line in bounded(lines, MOST_LINES, hint))


def _hint(explanation: formatting.Record) -> str:
    """Return the command that writes all of an explanation."""
    return f"koi-runtime explain --json=pretty {records.text(explanation, 'name')}"


def refused(refusal: formatting.Record) -> str:
    """Format a refused key, or the refused use of a key whose value has another use."""
    if part := refusal["part"]:
        return f"{part} refused: {refusal['reason']} ({refusal['key']})"
    return f"refused {refusal['key']}: {refusal['reason']}"


def type_of(port: formatting.Record, metadata: formatting.Record) -> str:
    """Return a port's service type and its source; metadata of the port goes first."""
    service_type = str(port["type"])
    number = f"{port['container_port']}/{port['protocol']}"
    of_port = records.mapping(records.mapping(metadata, "ports"), number)
    if service_type == of_port.get("type"):
        return f"{service_type}, set by its metadata for this port"
    if service_type == metadata.get("service_type"):
        return f"{service_type}, set by its metadata"
    if service_type.startswith(UNKNOWN_TYPE):
        return f"{service_type}, the fallback for an unknown service"
    if service_type in HTTP_TYPES and is_http_check(metadata):
        return f"{service_type}, because it is checked by HTTP"
    return f"{service_type}, the usual type for this port number"


def is_http_check(metadata: formatting.Record) -> bool:
    """Return True if metadata declares a check by HTTP."""
    kind = metadata.get("health_kind")
    return kind == "http" or (kind is None and "health_path" in metadata)
