"""A container's labels: its Compose names, the unit that runs it, and what its owner requests."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any, Final, NamedTuple

from koi_agent.backends.docker.kinds import Kind
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.instance import KoiMetadata
from koi_agent.core.metadata import switches
from koi_agent.core.metadata.keys import LABEL, SWITCHES
from koi_agent.core.metadata.names import filled_text
from koi_agent.core.metadata.parser import from_labels
from koi_agent.host.engines import (
    COMPOSE,
    SWARM_SERVICE,
    SWARM_SERVICE_ID,
    SWARM_STACK,
    SWARM_TASK,
    UNIT,
)

VARIABLE: Final = "KOI_MDNS_ANNOUNCE"
"""The one variable of a container's environment that is read."""
_UNIT: Final = re.compile(r"[A-Za-z0-9:_.\\@-]{1,240}\.(?:service|scope)")
_SWARM_ID: Final = re.compile("[0-9a-z]{1,64}")
_MAX_NAME: Final = 253
_NOT_ONE_OFF: Final = ("", "false", "0")


@frozen(kw_only=True)
class ContainerLabels:
    """The parsed labels of a container. They do not change in the container's life.

    ``service``, ``project`` and ``replica`` are those of Compose or of a swarm, ``unit`` is
    Podman's label for the unit that runs the container. A ``one_off`` of ``compose run`` has no
    service. ``swarm_service`` is the ID of the service that the container is a task of. ``notes``
    are sentences for Explain. ``is_final`` is False if a later response may have more of them: an
    event adds attributes, and of some images it is not known yet which labels they have.
    """

    service: str = ""
    project: str = ""
    replica: int = 0
    one_off: bool = False
    unit: str = ""
    swarm_service: str = ""
    metadata: KoiMetadata = field(default_factory=KoiMetadata)
    notes: tuple[str, ...] = ()
    is_final: bool = True


def parse_labels(
    labels: Mapping[str, Any], environment: Iterable[str], kind: Kind
) -> ContainerLabels:
    """Parse labels, and the one variable of the environment (``NAME=value``) that is ours."""
    texts = {key: value for key, value in labels.items() if isinstance(value, str)}
    notes: list[str] = []
    if len(texts) < len(labels):
        others = labels.keys() - texts.keys()
        # Without a text a switch can't be read, so that it counts as no.
        texts |= {key: "" for key in others if _is_switch(key)}
        if any(map(_is_koi_label, others)):
            notes.append("a koi label is ignored: its value is not text")
    unit = texts.get(UNIT, "") if kind.names_unit else ""
    swarm = texts.get(SWARM_SERVICE_ID, "")
    names = _swarm_names(texts, notes) if SWARM_SERVICE in texts else _compose_names(texts, notes)
    one_off = texts.get(_compose_key(texts, "oneoff"), "").strip().lower() not in _NOT_ONE_OFF
    if one_off:
        notes.append(
            f"a one-off run of the Compose service {names.service}"
            if names.service
            else "a one-off"
        )
    is_number = re.fullmatch("[0-9]{1,6}", names.number) and not one_off
    return ContainerLabels(
        # A one-off has the name of its container, and it does not count as a replica.
        service="" if one_off else names.service,
        project=names.project,
        replica=int(names.number) if is_number else 0,
        one_off=one_off,
        swarm_service=swarm if _SWARM_ID.fullmatch(swarm) else "",
        unit=unit if _UNIT.fullmatch(unit) else "",
        metadata=_shared(from_labels(texts, shorthand(environment))),
        notes=tuple(notes),
    )


@lru_cache(maxsize=1024)
def _shared(metadata: KoiMetadata) -> KoiMetadata:
    """Return one object for equal metadata, as thousands of containers may have."""
    return metadata


class _Names(NamedTuple):
    """Service and project of a container, and its number among those of the service."""

    service: str
    project: str
    number: str


def _compose_names(texts: Mapping[str, str], notes: list[str]) -> _Names:
    return _Names(
        _name_label(texts, _compose_key(texts, "service"), notes),
        _name_label(texts, _compose_key(texts, "project"), notes),
        texts.get(_compose_key(texts, "container-number"), ""),
    )


def _swarm_names(texts: Mapping[str, str], notes: list[str]) -> _Names:
    """Return a swarm's names: a task is named SERVICE.SLOT.ID, and a stack's service STACK_NAME.

    A task of a global service has the ID of its node, 25 characters, in place of a slot. Without
    a stack, the tasks of a service are a project of their own.
    """
    service = _name_label(texts, SWARM_SERVICE, notes)
    stack = _name_label(texts, SWARM_STACK, notes)
    slot, _, _ = texts.get(SWARM_TASK, "").removeprefix(f"{service}.").partition(".")
    name = service.removeprefix(f"{stack}_") if stack else service
    return _Names(name, stack or service, slot)


def _compose_key(labels: Mapping[str, str], key: str) -> str:
    """Return the label in which a container has a key of Compose."""
    found = (prefix + key for prefix in COMPOSE if prefix + key in labels)
    return next(found, COMPOSE[0] + key)


def _is_switch(key: str) -> bool:
    folded = key.lower()
    ours = (
        folded.startswith(LABEL.prefix) and switches.split(folded[len(LABEL.prefix) :], SWITCHES)[1]
    )
    return folded == "traefik.enable" or bool(ours and switches.is_switch(ours))


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
