"""What holds of metadata whatever texts come in."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from koi_agent.core.instance import EnabledBy, KoiMetadata, Protocol
from koi_agent.core.metadata.keys import ANNOTATION, INCUS, KEYS, LABEL, UNIT, Spelling
from koi_agent.core.metadata.parser import (
    from_annotations,
    from_incus_config,
    from_labels,
    from_unit_keys,
    over,
)
from koi_agent.core.metadata.service_types import resolve
from koi_agent.core.text import UNSAFE

any_text = st.text(st.characters(), max_size=30)  # lone surrogates, controls and all
pieces = st.sampled_from(
    ["koi.", "http", "_http._tcp", "8080", "txt.", "Host(", "`", "a.lan", "{{", "\x1b", " ", "1min"]
)
values = st.sampled_from(
    ["true", "false", "web", "My App", "8080", "_http._tcp", "/live", "tcp", "30"]
) | st.lists(pieces | any_text, max_size=6).map("".join)
ports = st.sampled_from(["80", "53/udp", "53-udp", "0", "99999"])


def keys(spelling: Spelling) -> st.SearchStrategy[str]:
    forms = st.sampled_from([spelling.prefix + spelling.form(key.name) for key in KEYS])
    known = st.builds(
        lambda form, txt, port: form.replace("<k>", txt).replace("<port>", port),
        forms,
        st.sampled_from("abAB") | any_text,
        ports,
    )
    return known | any_text.map(lambda text: spelling.prefix + text)


partner_keys = st.sampled_from(
    [
        "traefik.enable",
        "traefik.http.routers.a.rule",
        "traefik.http.routers.b.rule",
        "traefik.http.services.a.loadbalancer.server.port",
        "caddy",
        "caddy_0",
        "caddy.reverse_proxy",
        "caddy_1.handle.reverse_proxy",
    ]
)
labels = st.dictionaries(keys(LABEL) | partner_keys | any_text, values, max_size=12)
environments = st.dictionaries(st.just("KOI_MDNS_ANNOUNCE"), values)
sections = st.sampled_from(["Unit", "Service", "X-Koi"])
unit_keys = keys(UNIT) | keys(UNIT).map(lambda key: key.removeprefix("X-Koi-"))
assignments = st.lists(st.tuples(sections, unit_keys, values | st.just("")), max_size=12)
configs = st.dictionaries(
    keys(INCUS) | st.just("environment.KOI_MDNS_ANNOUNCE"), values, max_size=12
)
annotations = st.dictionaries(keys(ANNOTATION), values, max_size=12)

metadata = st.one_of(
    st.builds(from_labels, labels, environments),
    st.builds(from_incus_config, configs),
    st.builds(from_annotations, annotations),
    st.builds(from_unit_keys, assignments, environments),
)


def texts(value: object) -> Iterator[str]:
    """Find every text in a value."""
    match value:
        case str():
            yield value
        case dict():
            for part in value.values():
                yield from texts(part)
        case list() | tuple():
            for part in value:
                yield from texts(part)
        case _:
            return


@given(metadata)
def test_no_control_character_passes_in_a_value_or_a_reason(parsed: KoiMetadata) -> None:
    for text in texts(asdict(parsed)):
        assert not UNSAFE.search(text)


@given(metadata)
def test_what_is_accepted_is_in_bounds(parsed: KoiMetadata) -> None:
    assert (parsed.enable is None) == (parsed.enabled_by is None)
    assert parsed.name is None or 1 <= len(parsed.name.encode()) <= 63
    assert parsed.dns_name is None or parsed.dns_name == parsed.dns_name.lower()
    assert parsed.health_interval is None or parsed.health_interval >= 1
    assert parsed.port is None or 1 <= parsed.port <= 65535
    for txt in (parsed.txt, *(port.txt for _, port in parsed.ports)):
        assert all(len(f"{key}={value}".encode()) <= 255 for key, value in txt)
        assert len({key.lower() for key, _ in txt}) == len(txt)
    said_for = [port for port, _ in parsed.ports]
    assert said_for == sorted(set(said_for))
    assert parsed.txt == tuple(sorted(parsed.txt))
    hash(parsed)


@given(metadata, st.integers(1, 65535), st.sampled_from(Protocol))
def test_a_resolved_type_is_of_the_ports_transport(
    parsed: KoiMetadata, port: int, protocol: Protocol
) -> None:
    assert resolve(port, protocol, parsed).endswith(f"._{protocol}")


@given(labels, environments, st.randoms())
def test_the_order_of_labels_means_nothing(
    said: dict[str, str], environment: dict[str, str], random: Random
) -> None:
    shuffled = list(said.items())
    random.shuffle(shuffled)
    assert from_labels(dict(shuffled), environment) == from_labels(said, environment)


names = st.from_regex("[a-z]{1,20}", fullmatch=True)


@given(labels, st.none() | names, st.none() | names, st.none() | names)
def test_explicit_beats_announce_beats_environment_beats_partner(
    noise: dict[str, str], explicit: str | None, announce: str | None, environment: str | None
) -> None:
    spoken = {"koi.name": explicit, "koi.announce": announce}
    quiet = {key: value for key, value in noise.items() if not key.startswith("koi.")}
    said = quiet | {"caddy": "partner.lan", "traefik.enable": "false"}
    said |= {key: value for key, value in spoken.items() if value is not None}
    variables = {} if environment is None else {"KOI_MDNS_ANNOUNCE": environment}
    wanted = explicit or announce or environment or "partner"
    assert from_labels(said, variables).name == wanted


@given(labels, environments, st.sampled_from(["false", "False", " FALSE"]))
def test_enable_false_wins_whatever_else_is_said(
    said: dict[str, str], environment: dict[str, str], no: str
) -> None:
    parsed = from_labels(said | {"koi.enable": no}, environment)
    assert (parsed.enable, parsed.enabled_by) == (False, EnabledBy.EXPLICIT)
    assert parsed.source is None


@given(metadata, metadata)
def test_an_explicit_no_wins_on_either_side(one: KoiMetadata, other: KoiMetadata) -> None:
    no = replace(one, enable=False, enabled_by=EnabledBy.EXPLICIT)
    assert over(no, other).enable is False
    assert over(other, no).enable is False


@given(metadata, metadata, metadata)
def test_merging_is_associative_while_txt_has_room(
    one: KoiMetadata, two: KoiMetadata, three: KoiMetadata
) -> None:
    assert over(one, over(two, three)) == over(over(one, two), three)


@given(metadata)
def test_merging_with_nothing_changes_nothing(parsed: KoiMetadata) -> None:
    assert over(parsed, KoiMetadata()) == parsed
    assert over(KoiMetadata(), parsed) == parsed
