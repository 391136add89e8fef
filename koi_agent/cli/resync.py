"""``koi-runtime resync``: list the instances of backends again, and print the differences."""

from collections.abc import Mapping, Sequence

from koi_agent.cli import records
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import Refused, agent
from koi_agent.cli.output import Output, complain
from koi_agent.core.errors import KoiError
from koi_agent.core.text import printable

DIFFERENCES = ("added", "changed", "removed")
ABSENT = "absent"


class NoSuchBackend(KoiError):
    """The agent does not follow a backend of this name."""


def act(arguments: Arguments, output: Output) -> int:
    done, errors = resync(arguments.agent, arguments.backend)
    if output.mode != "off":
        output.json(done)
    else:
        for backend, counts in done.items():
            text = ", ".join(f"{counts[kind]} {kind}" for kind in DIFFERENCES)
            output.write(printable(f"{backend}: {text}"))
    output.flush()
    for error in errors:
        complain(error)
    return 1 if errors else 0


def resync(scope: str, backend: str | None) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Resync one backend or all; return counts of differences by backend, and error texts."""
    done: dict[str, dict[str, int]] = {}
    errors: list[str] = []
    with agent(scope) as client:
        for name in selected(client.backend_states(), backend):
            try:
                different = client.resync(name)
            except Refused as refused:
                errors.append(f"{name}: {refused}")
            else:
                done[name] = {kind: records.number(different, kind) for kind in DIFFERENCES}
    return done, errors


def selected(states: Mapping[str, str], backend: str | None) -> Sequence[str]:
    """Return the requested backend, or else all backends that are not absent."""
    if backend is None:
        return [name for name, state in sorted(states.items()) if state != ABSENT]
    if backend not in states:
        followed = ", ".join(sorted(states)) or "none"
        raise NoSuchBackend(f"no backend '{backend}'; this agent follows: {followed}")
    return [backend]
