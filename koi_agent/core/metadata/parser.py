"""The one parser of what owners ask for, whatever runtime carries it.

What is stronger comes first: the keys of the koi namespace, ``koi.announce``, the environment
variable ``KOI_MDNS_ANNOUNCE``, labels of Traefik, labels of Caddy. A value that can't be read is
refused with a reason and leaves standing what is weaker. Nothing here raises, whatever texts
come in, and nothing depends on the order in which a mapping holds its keys.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import EnabledBy, KoiMetadata, PortMetadata, Protocol, Refusal
from koi_agent.core.metadata import names
from koi_agent.core.metadata.keys import ANNOTATION, INCUS, LABEL, UNIT, KeyTarget, Spelling
from koi_agent.core.metadata.proxy_labels import partner
from koi_agent.core.metadata.txt import Txt, fitting, txt_over

MOST_KEYS = 1000

_SECTION = "X-Koi"
_VARIABLE = "KOI_MDNS_ANNOUNCE"


@dataclass(frozen=True, slots=True)
class _Said:
    """One assignment: where it stands, fit to be shown; its key without prefix; its value."""

    spelled: str
    name: str
    value: str


_Accepted = Mapping[KeyTarget, tuple[str, Any]]  # where it stands, and the value
_Port = tuple[int, Protocol]
_Ports = tuple[tuple[_Port, PortMetadata], ...]

_PLAIN_FIELDS = KoiMetadata.__dataclass_fields__.keys() - {
    "enable",
    "enabled_by",
    "txt",
    "ports",
    "refused",
}
_RANKS = (*EnabledBy, None)


def from_labels(labels: Mapping[str, str], environment: Mapping[str, str]) -> KoiMetadata:
    """Read the labels and the environment of a container."""
    given = _given(LABEL, _prefixed(LABEL, labels), _variable(environment))
    return given if given.enable is False else over(given, partner(labels, given))


def from_incus_config(config: Mapping[str, str]) -> KoiMetadata:
    """Read an Incus instance's expanded config, which holds its environment too."""
    return _given(INCUS, _prefixed(INCUS, config), _variable(config, "environment."))


def from_annotations(annotations: Mapping[str, str]) -> KoiMetadata:
    """Read the annotations of a pod."""
    return _given(ANNOTATION, _prefixed(ANNOTATION, annotations), None)


def from_unit_keys(
    assignments: Iterable[tuple[str, str, str]], environment: Mapping[str, str]
) -> KoiMetadata:
    """Read (section, key, value) of a merged unit file, in order, specifiers expanded.

    As in systemd a later assignment wins, a faulty one is as if it were not there, and an empty
    one takes back what was said before.
    """
    return _given(UNIT, _unit_said(assignments), _variable(environment))


def over(stronger: KoiMetadata, weaker: KoiMetadata) -> KoiMetadata:
    """Merge field by field; TXT strings and ports merge one by one.

    ``enable`` goes by what said it, not by whose it is: an explicit no wins over everything.
    """
    decided = min((stronger, weaker), key=_decision)
    txt, refused_txt = txt_over(stronger.txt, weaker.txt, LABEL.prefix + "txt.")
    ports, refused_ports = _ports_over(dict(stronger.ports), dict(weaker.ports))
    return KoiMetadata(
        **_fields_over(stronger, weaker, _PLAIN_FIELDS),
        enable=decided.enable,
        enabled_by=decided.enabled_by,
        txt=txt,
        ports=ports,
        refused=stronger.refused + weaker.refused + refused_txt + refused_ports,
    )


def _decision(metadata: KoiMetadata) -> tuple[bool, int]:
    return metadata.enable is not False, _RANKS.index(metadata.enabled_by)


def _fields_over(stronger: object, weaker: object, fields: Iterable[str]) -> dict[str, Any]:
    pairs = ((name, getattr(stronger, name), getattr(weaker, name)) for name in fields)
    return {name: weak if strong is None else strong for name, strong, weak in pairs}


def _ports_over(
    stronger: Mapping[_Port, PortMetadata], weaker: Mapping[_Port, PortMetadata]
) -> tuple[_Ports, tuple[Refusal, ...]]:
    merged = {**weaker, **stronger}
    refused: tuple[Refusal, ...] = ()
    for port in sorted(stronger.keys() & weaker.keys()):
        merged[port], refused_txt = _port_over(port, stronger[port], weaker[port])
        refused += refused_txt
    return tuple(sorted(merged.items(), key=itemgetter(0))), refused


def _port_over(
    port: _Port, stronger: PortMetadata, weaker: PortMetadata
) -> tuple[PortMetadata, tuple[Refusal, ...]]:
    where = f"{LABEL.prefix}{port[0]}/{port[1]}.txt."
    txt, refused = txt_over(stronger.txt, weaker.txt, where)
    fields = _fields_over(stronger, weaker, ("type", "subtypes", "name"))
    return PortMetadata(**fields, txt=txt), refused


def _prefixed(spelling: Spelling, entries: Mapping[str, str]) -> list[_Said]:
    ours = sorted(key for key in entries if key.startswith(spelling.prefix))
    return [
        _Said(names.shown_key(key), key.removeprefix(spelling.prefix), entries[key]) for key in ours
    ]


def _unit_said(assignments: Iterable[tuple[str, str, str]]) -> list[_Said]:
    said = []
    for section, key, value in assignments:
        if key.startswith(UNIT.prefix):
            said.append(_Said(names.shown_key(key), key.removeprefix(UNIT.prefix), value))
        elif section == _SECTION:
            said.append(_Said(f"[{_SECTION}] {names.shown_key(key)}", key, value))
    return said


def _variable(environment: Mapping[str, str], prefix: str = "") -> _Said | None:
    value = environment.get(prefix + _VARIABLE)
    return None if value is None else _Said(prefix + _VARIABLE, _VARIABLE, value)


def _given(spelling: Spelling, said: Sequence[_Said], variable: _Said | None) -> KoiMetadata:
    """Merge what the keys say, what ``announce`` adds, and what the environment adds."""
    accepted, refused = _read(spelling, said)
    given = _assembled(accepted, refused)
    for place, (spelled, value) in accepted.items():
        if place.key.field == "announce":
            announced = _Said(spelled, place.key.name, value)
            given = over(given, _announced(announced, EnabledBy.ANNOUNCE, given))
    if variable:
        given = over(given, _announced(variable, EnabledBy.ENVIRONMENT, given))
    return given


def _read(spelling: Spelling, said: Sequence[_Said]) -> tuple[_Accepted, tuple[Refusal, ...]]:
    accepted: dict[KeyTarget, tuple[str, Any]] = {}
    refused: list[Refusal] = []
    for one in said[:MOST_KEYS]:
        try:
            _accept(spelling, one, accepted)
        except BadInput as bad:
            refused.append(Refusal(key=one.spelled, reason=str(bad)))
    if len(said) > MOST_KEYS:
        reason = f"{len(said)} keys are too many: those after the first {MOST_KEYS} are not read"
        refused.append(Refusal(key=f"{spelling.prefix}*", reason=reason))
    return accepted, tuple(refused)


def _accept(spelling: Spelling, one: _Said, accepted: dict[KeyTarget, tuple[str, Any]]) -> None:
    place = spelling.place(one.name)
    if spelling.unit and not one.value.strip():
        accepted.pop(place, None)
        return
    if place in accepted and not spelling.unit:  # koi.80.name beside koi.80/tcp.name
        raise BadInput(f"{accepted[place][0]} says it already")
    accepted[place] = (one.spelled, place.read(one.value, unit=spelling.unit))


def _assembled(accepted: _Accepted, refused: tuple[Refusal, ...]) -> KoiMetadata:
    by_port: dict[_Port, dict[KeyTarget, tuple[str, Any]]] = {}
    for place, value in accepted.items():
        if place.port:
            by_port.setdefault(place.port, {})[place] = value
    whole = {place: value for place, value in accepted.items() if not place.port}
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


def _fields(accepted: _Accepted) -> dict[str, Any]:
    return {place.key.field: value for place, (_, value) in accepted.items() if not place.txt}


def _txt(accepted: _Accepted) -> tuple[Txt, tuple[Refusal, ...]]:
    entries = sorted(
        (place.txt, spelled, value) for place, (spelled, value) in accepted.items() if place.txt
    )
    return fitting((spelled, key, value) for key, spelled, value in entries)


def _announced(said: _Said, by: EnabledBy, given: KoiMetadata) -> KoiMetadata:
    """Take one value as service name and as DNS name, as far as it can be either.

    ``My App`` is a fine service name and no DNS name: that is worth a word only as long as no
    DNS name is given.
    """
    fields: dict[str, Any] = {}
    refused: dict[str, Refusal] = {}
    try:
        names.filled_text(said.value)
    except BadInput as bad:
        return KoiMetadata(refused=(Refusal(key=said.spelled, reason=str(bad)),))
    for field, read in (("name", names.instance_name), ("dns_name", names.dns_name)):
        try:
            fields[field] = read(said.value)
        except BadInput as bad:
            refused[field] = Refusal(key=said.spelled, reason=str(bad))
    if not fields:
        return KoiMetadata(refused=tuple(refused.values()))
    missed = tuple(refused[field] for field in refused if getattr(given, field) is None)
    return KoiMetadata(**fields, enable=True, enabled_by=by, refused=missed)
