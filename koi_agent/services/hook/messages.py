"""Messages of Varlink: JSON objects, each of which ends in a NUL byte."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from koi_agent import __version__
from koi_agent.core.errors import BadInput

END: Final = b"\0"
SERVICE: Final = "org.varlink.service"
HOOK: Final = "io.systemd.Resolve.Hook"
INTERFACES: Final = {
    SERVICE: """\
interface org.varlink.service
method GetInfo() -> (
  vendor: string, product: string, version: string, url: string, interfaces: []string
)
method GetInterfaceDescription(interface: string) -> (description: string)
error InterfaceNotFound(interface: string)
error MethodNotFound(method: string)
error MethodNotImplemented(method: string)
error InvalidParameter(parameter: string)
error PermissionDenied()
error ExpectedMore()
""",
    HOOK: """\
interface io.systemd.Resolve.Hook
type ResourceKey(class: int, type: int, name: string)
type Question(key: ResourceKey)
type Answer(rr: ?object, raw: string)
method QueryFilter() -> (
  filterDomains: ?[]string, filterLabelsMin: ?int, filterLabelsMax: ?int
)
method ResolveRecord(question: []Question) -> (rcode: ?int, answer: ?[]Answer)
""",
}
"""The interfaces of this service, as in the language of Varlink."""


class Call(NamedTuple):
    """A method call."""

    method: str
    parameters: Mapping[str, Any]
    more: bool = False
    oneway: bool = False


def parse(message: bytes) -> Call:
    """Parse a message without its final byte; raise ``BadInput``."""
    try:
        value = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise BadInput("not JSON") from error
    if not isinstance(value, dict) or not isinstance(value.get("method"), str):
        raise BadInput("not a method call")
    parameters = value.get("parameters")
    return Call(
        method=value["method"],
        parameters=parameters if isinstance(parameters, dict) else {},
        more=value.get("more") is True,
        oneway=value.get("oneway") is True,
    )


def reply(parameters: Mapping[str, Any], *, continues: bool = False) -> bytes:
    """Return a reply."""
    value: dict[str, Any] = {"parameters": parameters}
    return _message(value | ({"continues": True} if continues else {}))


def error(name: str, **parameters: str) -> bytes:
    """Return an error of the interface of all services."""
    return _message({"error": f"{SERVICE}.{name}", "parameters": parameters})


def info() -> bytes:
    """Return the reply to GetInfo."""
    return reply(
        {
            "vendor": "koi-runtime",
            "product": "koi-runtime-hook",
            "version": __version__,
            "url": "",
            "interfaces": [*INTERFACES],
        }
    )


def description(name: object) -> bytes:
    """Return the reply to GetInterfaceDescription."""
    if isinstance(name, str) and name in INTERFACES:
        return reply({"description": INTERFACES[name]})
    return error("InterfaceNotFound", interface=name if isinstance(name, str) else "")


def _message(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + END
