"""``koi-runtime explain``: in words, why an instance is announced, or is not."""

from collections.abc import Iterator
from typing import Any

from koi_agent.cli import formatting, records, resolve
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import Client, key_at
from koi_agent.cli.output import Output, Style
from koi_agent.core.text import printable

BY = {
    "explicit": "its own koi metadata says so",
    "announce": "its koi.announce says what to announce",
    "environment": "KOI_MDNS_ANNOUNCE in its environment says so",
    "partner": "a reverse proxy's label names its port",
}
"""What speaks for or against announcing, by ``enabled_by``."""
HOW = {
    "systemd": "X-Koi-Enable=yes in its unit file",
    "docker": "the label koi.enable=true",
    "podman": "the label koi.enable=true",
    "incus": "user.koi.enable=true in its config",
    "kubernetes": "the annotation koi.sylin.org/enable=true",
}
"""How an instance of a backend is opted in."""
UNKNOWN_TYPE = "_koi-managed."


def act(arguments: Arguments, output: Output) -> int:
    return resolve.tell(arguments, output, record, block)


async def record(service: Client, path: str) -> dict[str, Any]:
    """Ask for an instance's explanation, as the agent gives it."""
    return dict(await service.explanation(":".join(key_at(path))))


def block(said: formatting.Record, output: Output) -> str:
    """Put an explanation into words, a line each."""
    enabled = said.get("enabled") is True
    dot = output.styled(output.dot, Style.GOOD if enabled else Style.GREY)
    title = f"{records.text(said, 'name')} ({records.text(said, 'key')})"
    return "\n".join([f"{dot} {printable(title)}", *(f"  {printable(x)}" for x in lines(said))])


def lines(said: formatting.Record) -> Iterator[str]:
    """Say what the owner wishes, what of the ports, and what can't be done."""
    for reason in records.items(said, "reasons"):
        yield str(reason)
    metadata = records.mapping(said, "metadata")
    if by := BY.get(records.text(said, "enabled_by")):
        yield f"because {by}"
    elif "enable" not in metadata:
        backend = records.text(said, "key").partition(":")[0]
        yield f"to opt it in: {HOW.get(backend, 'koi.enable=true')}"
    ports = records.dicts(said, "ports")
    for port in ports:
        source = records.text(port, "source")
        yield f"port {formatting.way(port)}, {source}: {type_of(port, metadata)}"
    if not ports:
        yield "no port is known"
    yield from decisions(said)
    for refusal in records.refusals(said):
        yield f"refused {refusal['key']}: {refusal['reason']}"
    for note in records.items(said, "notes"):
        yield f"note: {note}"


def decisions(said: formatting.Record) -> Iterator[str]:
    """Say what became of each wish, and why."""
    for decision in records.dicts(said, "decisions"):
        outcome, about = records.text(decision, "outcome"), records.text(decision, "about")
        yield f"{outcome}, {about}: {records.text(decision, 'reason')}"


def type_of(port: formatting.Record, metadata: formatting.Record) -> str:
    """Tell a port's service type and who named it, by the agent's own order of precedence."""
    known = records.text(port, "type")
    number = f"{port.get('container_port')}/{port.get('protocol')}"
    of_port = records.mapping(records.mapping(metadata, "ports"), number)
    if known == of_port.get("type"):
        return f"{known}, as its metadata says of this port"
    if known == metadata.get("service_type"):
        return f"{known}, as its metadata says"
    if known.startswith(UNKNOWN_TYPE):
        return f"{known}, as nothing says what it serves"
    return f"{known}, as is usual for this number"
