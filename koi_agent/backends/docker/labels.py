"""What a container's labels say of it: whose it is, what it belongs to, what is asked for it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import KoiMetadata
from koi_agent.core.metadata.names import filled_text
from koi_agent.core.metadata.parser import from_labels
from koi_agent.host.engines import COMPOSE, UNIT

_VARIABLE: Final = "KOI_MDNS_ANNOUNCE"
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,240}\.(?:service|scope)")
_LONGEST_NAME: Final = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerLabels:
    """What its owner said of a container; none of it changes in a container's life.

    ``service``, ``project`` and ``replica`` are Compose's, ``unit`` is Podman's word for the
    unit that runs it. ``notes`` are for Explain.
    """

    service: str = ""
    project: str = ""
    replica: int = 0
    unit: str = ""
    metadata: KoiMetadata = field(default_factory=KoiMetadata)
    notes: tuple[str, ...] = ()


def owned(labels: Mapping[str, Any], environment: Iterable[str], backend: str) -> ContainerLabels:
    """Read labels, and of the environment (``NAME=value``) the one variable that is ours."""
    said = {key: value for key, value in labels.items() if isinstance(value, str)}
    notes: list[str] = []
    if len(said) < len(labels) and any(map(_is_ours, labels.keys() - said.keys())):
        notes.append("a koi label has a value that is no text, and is not read")
    unit = said.get(UNIT, "") if backend == "podman" else ""
    number = said.get(f"{COMPOSE}container-number", "")
    return ContainerLabels(
        service=_name(said, f"{COMPOSE}service", notes),
        project=_name(said, f"{COMPOSE}project", notes),
        replica=int(number) if re.fullmatch("[0-9]{1,6}", number) else 0,
        unit=unit if _UNIT.fullmatch(unit) else "",
        metadata=from_labels(said, _shorthand(environment)),
        notes=tuple(notes),
    )


def _is_ours(key: str) -> bool:
    return key.startswith("koi.")


def _name(labels: Mapping[str, str], key: str, notes: list[str]) -> str:
    """Read a name that is going to be shown; one that is none is told of, and not used."""
    try:
        return name_of(labels[key]) if key in labels else ""
    except BadInput as bad:
        notes.append(f"label {key} is not used: {bad}")
        return ""


def name_of(text: str) -> str:
    """Accept a name that can be shown; raises ``BadInput``."""
    name = filled_text(text)
    if len(name.encode()) > _LONGEST_NAME:
        raise BadInput(f"it is longer than {_LONGEST_NAME} bytes")
    return name


def _shorthand(environment: Iterable[str]) -> dict[str, str]:
    for variable in environment:
        name, equals, value = variable.partition("=")
        if name == _VARIABLE and equals:
            return {name: value}
    return {}
