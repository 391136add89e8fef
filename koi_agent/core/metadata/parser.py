"""The parser of the metadata of all runtimes.

Sources in order of precedence: keys of the koi namespace, ``koi.announce``, the environment
variable ``KOI_MDNS_ANNOUNCE``, labels of Traefik, labels of Caddy. A value that can't be parsed is
refused with a reason, and the next source applies. The functions raise no error for any input, and
the result does not depend on the order of keys in a mapping.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import EnabledBy, KoiMetadata, PortMetadata, Protocol, Refusal
from koi_agent.core.metadata import names, switches
from koi_agent.core.metadata.assignments import Assignment, of_unit, prefixed, variable_of
from koi_agent.core.metadata.keys import (
    ANNOTATION,
    CONFIG_KEY,
    LABEL,
    SWITCHES,
    UNIT,
    KeyTarget,
    Spelling,
)
from koi_agent.core.metadata.proxy_labels import from_proxy_labels
from koi_agent.core.metadata.txt import Txt, merge_txt, txt_record

MOST_KEYS = 1000


class _Accepted(NamedTuple):
    """A parsed value, and the key that set it."""

    key: str
    value: Any


_Values = Mapping[KeyTarget, _Accepted]
_Port = tuple[int, Protocol]
_Ports = tuple[tuple[_Port, PortMetadata], ...]

_NOTHING = KoiMetadata()
_PLAIN_FIELDS = KoiMetadata.__dataclass_fields__.keys() - {
    "enable",
    "enabled_by",
    "txt",
    "ports",
    "refused",
}
_CAPABILITY_SWITCHES = tuple(target.row.field for name, target in SWITCHES.items() if name)
"""The fields that opt out of one capability."""
_RANKS = (*EnabledBy, None)
_PARTS = {"name": "service", "dns_name": "host name"}
"""The uses of a value that opts in, by field."""


def from_labels(labels: Mapping[str, str], environment: Mapping[str, str]) -> KoiMetadata:
    """Parse the labels and the environment of a container."""
    metadata = _parse(LABEL, prefixed(LABEL, labels), variable_of(environment))
    if metadata.enable is False:
        return metadata
    weaker = from_proxy_labels(labels, metadata)
    return metadata if weaker == _NOTHING else merge(metadata, weaker)


def from_config_keys(config: Mapping[str, object]) -> KoiMetadata:
    """Parse an instance's expanded configuration, which includes its environment."""
    return _parse(CONFIG_KEY, prefixed(CONFIG_KEY, config), variable_of(config, "environment."))


def from_annotations(annotations: Mapping[str, object]) -> KoiMetadata:
    """Parse the annotations of a pod."""
    return _parse(ANNOTATION, prefixed(ANNOTATION, annotations), None)


def from_unit_keys(
    assignments: Iterable[tuple[str, str, str]],
    environment: Mapping[str, str],
    refused: Mapping[int, str] = MappingProxyType({}),
) -> KoiMetadata:
    """Parse (section, key, value) of a merged unit file, in order, with specifiers expanded.

    ``refused`` has the reasons of assignments that can't be used, by their position.

    As in systemd, a later assignment overrides an earlier one, an invalid one is ignored, and an
    empty one resets the key.
    """
    return _parse(UNIT, of_unit(assignments, refused), variable_of(environment))


def merge(stronger: KoiMetadata, weaker: KoiMetadata) -> KoiMetadata:
    """Merge two metadata field by field, TXT records by TXT key and ports by port.

    ``enable`` is taken from the stronger source (``EnabledBy``) of the two, and an explicit
    ``false`` in either overrides everything. So it does for one capability.
    """
    decided = min((stronger, weaker), key=_enable_rank)
    txt, refused_txt = merge_txt(stronger.txt, weaker.txt, LABEL.prefix + "txt.")
    ports, refused_ports = _merge_ports(dict(stronger.ports), dict(weaker.ports))
    opted_out = {
        name: False
        for name in _CAPABILITY_SWITCHES
        if False in (getattr(stronger, name), getattr(weaker, name))
    }
    return KoiMetadata(
        **(_merge_fields(stronger, weaker, _PLAIN_FIELDS) | opted_out),
        enable=decided.enable,
        enabled_by=decided.enabled_by,
        txt=txt,
        ports=ports,
        refused=stronger.refused + weaker.refused + refused_txt + refused_ports,
    )


def _enable_rank(metadata: KoiMetadata) -> tuple[bool, int]:
    return metadata.enable is not False, _RANKS.index(metadata.enabled_by)


def _merge_fields(stronger: object, weaker: object, fields: Iterable[str]) -> dict[str, Any]:
    pairs = ((name, getattr(stronger, name), getattr(weaker, name)) for name in fields)
    return {name: weak if strong is None else strong for name, strong, weak in pairs}


def _merge_ports(
    stronger: Mapping[_Port, PortMetadata], weaker: Mapping[_Port, PortMetadata]
) -> tuple[_Ports, tuple[Refusal, ...]]:
    merged = {**weaker, **stronger}
    refused: tuple[Refusal, ...] = ()
    for port in sorted(stronger.keys() & weaker.keys()):
        merged[port], refused_txt = _merge_port(port, stronger[port], weaker[port])
        refused += refused_txt
    return tuple(sorted(merged.items(), key=itemgetter(0))), refused


def _merge_port(
    port: _Port, stronger: PortMetadata, weaker: PortMetadata
) -> tuple[PortMetadata, tuple[Refusal, ...]]:
    prefix = f"{LABEL.prefix}{port[0]}/{port[1]}.txt."
    txt, refused = merge_txt(stronger.txt, weaker.txt, prefix)
    fields = _merge_fields(stronger, weaker, ("type", "subtypes", "name"))
    return PortMetadata(**fields, txt=txt), refused


def _parse(
    spelling: Spelling, assignments: Sequence[Assignment], variable: Assignment | None
) -> KoiMetadata:
    """Merge the keys, the names from ``announce`` and the names from the environment."""
    accepted, refused = _accept_all(spelling, assignments)
    metadata = _metadata(accepted, refused)
    for target, (key, value) in accepted.items():
        if target.row.field == "announce":
            announce = Assignment(key, target.row.name, value)
            metadata = merge(metadata, _announced(announce, EnabledBy.ANNOUNCE, metadata))
    if variable:
        metadata = merge(metadata, _announced(variable, EnabledBy.ENVIRONMENT, metadata))
    return metadata


def _accept_all(
    spelling: Spelling, assignments: Sequence[Assignment]
) -> tuple[_Values, tuple[Refusal, ...]]:
    accepted: dict[KeyTarget, _Accepted] = {}
    refused: list[Refusal] = []
    for assignment in assignments[:MOST_KEYS]:
        try:
            target = spelling.parse(assignment.full)
        except BadInput as bad:
            refused.append(_unknown(spelling, assignment, bad, accepted))
            continue
        try:
            _accept(spelling, target, assignment, accepted)
        except BadInput as bad:
            reason = str(bad)
            if target in SWITCHES.values():
                accepted[target] = _Accepted(assignment.key, value=False)
                reason += switches.COUNTS_AS_NO
            refused.append(assignment.refused(reason, target.row.capability))
    if len(assignments) > MOST_KEYS:
        # Any of the others may opt out, in one of many spellings.
        key, reason = f"{spelling.prefix}*", f"{len(assignments)} keys are too many"
        accepted[SWITCHES[""]] = _Accepted(key, value=False)
        refused.append(Refusal(key=key, reason=f"{reason}{switches.COUNTS_AS_NO}"))
    return accepted, tuple(refused)


def _unknown(
    spelling: Spelling,
    assignment: Assignment,
    bad: BadInput,
    accepted: dict[KeyTarget, _Accepted],
) -> Refusal:
    """Return the refusal of an unknown key; a misspelled switch opts out unless it says yes."""
    capability, rest = switches.split(assignment.name, SWITCHES)
    switch = SWITCHES[capability]
    read = switch.row.read_unit if spelling.unit else switch.row.read
    if read and switches.opts_out(rest, assignment.value, read):
        accepted[switch] = _Accepted(assignment.key, value=False)
        return assignment.refused(f"{bad}{switches.COUNTS_AS_NO}")
    return assignment.refused(bad)


def _accept(
    spelling: Spelling,
    target: KeyTarget,
    assignment: Assignment,
    accepted: dict[KeyTarget, _Accepted],
) -> None:
    """Add the value to ``accepted``. Raises ``BadInput``."""
    if assignment.problem:
        raise BadInput(assignment.problem)
    if spelling.unit and not assignment.value.strip():
        accepted.pop(target, None)
        return
    if target in accepted and not spelling.unit:  # koi.80.name and koi.80/tcp.name
        raise BadInput(f"{accepted[target].key} sets the same value already")
    value = target.read(assignment.value, unit=spelling.unit)
    accepted[target] = _Accepted(assignment.key, value)


def _metadata(accepted: _Values, refused: tuple[Refusal, ...]) -> KoiMetadata:
    by_port: dict[_Port, dict[KeyTarget, _Accepted]] = {}
    for target, value in accepted.items():
        if target.port:
            by_port.setdefault(target.port, {})[target] = value
    whole = {target: value for target, value in accepted.items() if not target.port}
    fields = _fields(whole)
    fields.pop("announce", None)
    txt, over_long = _txt(whole)
    ports = []
    for port, of_port in by_port.items():
        port_txt, refused_txt = _txt(of_port)
        ports.append((port, PortMetadata(**_fields(of_port), txt=port_txt)))
        over_long += refused_txt
    return KoiMetadata(
        **fields,
        enabled_by=EnabledBy.EXPLICIT if "enable" in fields else None,
        txt=txt,
        ports=tuple(sorted(ports, key=itemgetter(0))),
        refused=refused + over_long,
    )


def _fields(accepted: _Values) -> dict[str, Any]:
    return {target.row.field: value for target, (_, value) in accepted.items() if not target.txt}


def _txt(accepted: _Values) -> tuple[Txt, tuple[Refusal, ...]]:
    entries = sorted(
        (target.txt, key, value) for target, (key, value) in accepted.items() if target.txt
    )
    return txt_record((key, txt_key, value) for txt_key, key, value in entries)


def _announced(assignment: Assignment, by: EnabledBy, metadata: KoiMetadata) -> KoiMetadata:
    """Use one value as service name and as DNS name, if it is valid as either.

    ``My App`` is a service name but not a DNS name. This is refused only if ``metadata`` has no
    DNS name.
    """
    fields: dict[str, Any] = {}
    refused: dict[str, Refusal] = {}
    try:
        text = names.filled_text(assignment.value)
    except BadInput as bad:
        return KoiMetadata(refused=(assignment.refused(bad),))
    if text.lower() in switches.REFUSING_WORDS:
        reason = f"{names.shown(text)} is not used as a name{switches.COUNTS_AS_NO}"
        return KoiMetadata(enable=False, enabled_by=by, refused=(assignment.refused(reason),))
    for field, read in (("name", names.instance_name), ("dns_name", names.dns_name)):
        try:
            fields[field] = read(assignment.value)
        except BadInput as bad:
            refused[field] = assignment.refused(bad, part=_PARTS[field])
    if not fields:
        return KoiMetadata(refused=tuple(refused.values()))
    instead = "" if text.lower() in names.RESERVED else _announced_as(fields, metadata)
    missing = tuple(
        assignment.refused(f"{refusal.reason}{instead}", part=refusal.part)
        for field, refusal in refused.items()
        if getattr(metadata, field) is None
    )
    return KoiMetadata(**fields, enable=True, enabled_by=by, refused=missing)


def _announced_as(fields: Mapping[str, str], metadata: KoiMetadata) -> str:
    """Return what is announced instead; a name in ``metadata`` goes before that in ``fields``."""
    values = ((_PARTS[field], getattr(metadata, field) or fields[field]) for field in fields)
    used = (f"{part} {names.shown(value)}" for part, value in values)
    return f"; announced as {' and '.join(used)}"
