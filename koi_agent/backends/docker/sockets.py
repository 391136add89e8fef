"""The sockets on which an engine may listen, in the order in which they are tried.

A configured socket is the only one. Otherwise the variable that the engine's own command reads
comes first, then the gate of the system's engine, then the usual paths. Podman may also answer
on Docker's socket: its package ``podman-docker`` arranges that.
"""

from collections.abc import Mapping
from typing import Final

from koi_agent.backends.docker.kinds import DOCKER, Kind
from koi_agent.core.frozen import frozen
from koi_agent.core.text import printable
from koi_agent.host.engines import SocketUnit, is_gate

_UNIX: Final = "unix://"


@frozen(kw_only=True)
class Candidate:
    """A socket to try.

    ``gate_unit`` is the path unit of the gate in front of this socket, or "". ``unit`` is the
    socket unit that makes this socket, or ``None`` if that is not known. ``is_gate`` marks the
    gate's own socket: the engine may be present without it. ``is_foreign`` marks a usual socket of
    another kind: errors there are reported by the backend of that kind.
    """

    path: str
    gate_unit: str = ""
    unit: SocketUnit | None = None
    is_gate: bool = False
    is_foreign: bool = False


@frozen(kw_only=True)
class Candidates:
    """The sockets to try in order, and the reason if the list is empty."""

    sockets: tuple[Candidate, ...]
    reason: str = ""


def find_candidates(
    kind: Kind, configured: str, scope: str, environment: Mapping[str, str]
) -> Candidates:
    """Return the sockets to try; ``configured`` is the path or ``unix://`` URL set, or "".

    A user's agent does not look at the system's engines unless that is configured.
    """
    if configured:
        path = configured.removeprefix(_UNIX)
        return Candidates(sockets=(Candidate(path=path, is_gate=is_gate(path)),))
    own = _usual_paths(kind, scope, environment)
    others = [] if kind is DOCKER else _usual_paths(DOCKER, scope, environment)
    gate_units = {kind.socket: kind.gate_unit} if scope == "system" else {}
    made_by = SocketUnit(engine=kind.name, scope=scope)
    unit_socket = kind.socket if scope == "system" else _user_socket(kind, environment)
    sockets = tuple(
        Candidate(
            path=path,
            gate_unit=gate_units.get(path, ""),
            unit=made_by if path == unit_socket else None,
            is_gate=is_gate(path),
            is_foreign=path not in own,
        )
        for path in dict.fromkeys([*own, *others])
    )
    return Candidates(sockets=sockets, reason="" if sockets else _no_socket(kind, environment))


def _usual_paths(kind: Kind, scope: str, environment: Mapping[str, str]) -> list[str]:
    host = environment.get(kind.host_variable, "")
    found = [host.removeprefix(_UNIX)] if host.startswith(f"{_UNIX}/") else []
    if scope == "system":
        return [*found, kind.gate_socket, kind.socket]
    socket = _user_socket(kind, environment)
    return [*found, socket] if socket else found


def _user_socket(kind: Kind, environment: Mapping[str, str]) -> str:
    """Return the path of the socket of a user's engine; "" if it is not known."""
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    return f"{runtime}/{kind.user_socket}" if runtime.startswith("/") else ""


def _no_socket(kind: Kind, environment: Mapping[str, str]) -> str:
    if host := environment.get(kind.host_variable, ""):
        text = f"{kind.host_variable}: not a Unix socket: {printable(host, 100)}"
        return f"{text}; set it, or Socket= of [{kind.title}]"
    return f"no socket to try: XDG_RUNTIME_DIR is not set; set it, or Socket= of [{kind.title}]"
