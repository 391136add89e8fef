"""A container's labels: its Compose names, the unit that runs it, and what its owner requests."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from koi_agent.backends.docker.kinds import Kind
from koi_agent.core.errors import BadInput
from koi_agent.core.instance import KoiMetadata
from koi_agent.core.metadata.names import filled_text
from koi_agent.core.metadata.parser import from_labels
from koi_agent.host.engines import COMPOSE, UNIT

VARIABLE: Final = "KOI_MDNS_ANNOUNCE"
"""The one variable of a container's environment that is read."""
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,240}\.(?:service|scope)")
_MAX_NAME: Final = 253
_SWITCHES: Final = frozenset({"koi.enable", "traefik.enable"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerLabels:
    """The parsed labels of a container. They do not change in the container's life.

    ``service``, ``project`` and ``replica`` are Compose's, ``unit`` is Podman's label for the
    unit that runs the container. ``notes`` are sentences for Explain.
    """

    service: str = ""
    project: str = ""
    replica: int = 0
    unit: str = ""
    metadata: KoiMetadata = field(default_factory=KoiMetadata)
    notes: tuple[str, ...] = ()


def parse_labels(
    labels: Mapping[str, Any], environment: Iterable[str], kind: Kind
) -> ContainerLabels:
    """Parse labels, and the one variable of the environment (``NAME=value``) that is ours."""
    texts = {key: value for key, value in labels.items() if isinstance(value, str)}
    notes: list[str] = []
    if len(texts) < len(labels):
        others = labels.keys() - texts.keys()
        # Without a text a switch can't be read, so that it counts as no.
        texts |= {key: "" for key in others if key.lower() in _SWITCHES}
        if any(map(_is_koi_label, others)):
            notes.append("a koi label is ignored: its value is not text")
    unit = texts.get(UNIT, "") if kind.names_unit else ""
    number = texts.get(f"{COMPOSE}container-number", "")
    return ContainerLabels(
        service=_name_label(texts, f"{COMPOSE}service", notes),
        project=_name_label(texts, f"{COMPOSE}project", notes),
        replica=int(number) if re.fullmatch("[0-9]{1,6}", number) else 0,
        unit=unit if _UNIT.fullmatch(unit) else "",
        metadata=from_labels(texts, shorthand(environment)),
        notes=tuple(notes),
    )


def _is_koi_label(key: str) -> bool:
    return key.startswith("koi.")


def _name_label(labels: Mapping[str, str], key: str, notes: list[str]) -> str:
    """Return the name in a label, or "" with a note if it can't be shown."""
    try:
        return check_name(labels[key]) if key in labels else ""
    except BadInput as bad:
        notes.append(f"label {key} is ignored: {bad}")
        return ""


def check_name(text: str) -> str:
    """Return a name that can be shown; raise ``BadInput`` otherwise."""
    name = filled_text(text)
    if len(name.encode()) > _MAX_NAME:
        raise BadInput(f"longer than {_MAX_NAME} bytes")
    return name


def shorthand(environment: Iterable[str]) -> dict[str, str]:
    """Return the variable that is read, from an environment of ``NAME=value``."""
    for variable in environment:
        name, equals, value = variable.partition("=")
        if name == VARIABLE and equals:
            return {name: value}
    return {}
