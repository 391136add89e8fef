"""Properties of parsed metadata that hold for any input."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from koi_agent.core.instance import EnabledBy, KoiMetadata, Protocol
from koi_agent.core.metadata.keys import ANNOTATION, CONFIG_KEY, KEYS, LABEL, UNIT, Spelling
from koi_agent.core.metadata.parser import (
    from_annotations,
    from_config_keys,
    from_labels,
    from_unit_keys,
    merge,
)
from koi_agent.core.metadata.service_types import resolve
from koi_agent.core.metadata.switches import REFUSING_WORDS
from koi_agent.core.text import UNSAFE

any_text = st.text(st.characters(), max_size=30)  # with lone surrogates and controls
pieces = st.sampled_from(
    ["koi.", "http", "_http._tcp", "8080", "txt.", "Host(", "`", "a.lan", "{{", "\x1b", " ", "1min"]
)
values = st.sampled_from(
    ["true", "false", "web", "My App", "8080", "_http._tcp", "/live", "tcp", "30"]
) | st.lists(pieces | any_text, max_size=6).map("".join)
ports = st.sampled_from(["80", "53/udp", "53-udp", "0", "99999"])


def keys(spelling: Spelling) -> st.SearchStrategy[str]:
    forms = st.sampled_from([spelling.prefix + spelling.write(key.name) for key in KEYS])
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
    keys(CONFIG_KEY) | st.just("environment.KOI_MDNS_ANNOUNCE"), values, max_size=12
)
annotations = st.dictionaries(keys(ANNOTATION), values, max_size=12)

metadata = st.one_of(
    st.builds(from_labels, labels, environments),
    st.builds(from_config_keys, configs),
    st.builds(from_annotations, annotations),
    st.builds(from_unit_keys, assignments, environments),
)


def texts(value: object) -> Iterator[str]:
    """Yield every text in a value."""
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
def test_no_value_or_reason_contains_control_characters(parsed: KoiMetadata) -> None:
    for text in texts(asdict(parsed)):
        assert not UNSAFE.search(text)


@given(metadata)
def test_accepted_values_are_within_limits(parsed: KoiMetadata) -> None:
    assert (parsed.enable is None) == (parsed.enabled_by is None)
    assert parsed.name is None or 1 <= len(parsed.name.encode()) <= 63
    assert parsed.dns_name is None or parsed.dns_name == parsed.dns_name.lower()
    assert parsed.health_interval is None or parsed.health_interval >= 1
    assert parsed.port is None or 1 <= parsed.port <= 65535
    for txt in (parsed.txt, *(port.txt for _, port in parsed.ports)):
        assert all(len(f"{key}={value}".encode()) <= 255 for key, value in txt)
        assert len({key.lower() for key, _ in txt}) == len(txt)
    port_keys = [port for port, _ in parsed.ports]
    assert port_keys == sorted(set(port_keys))
    assert parsed.txt == tuple(sorted(parsed.txt))
    hash(parsed)


@given(metadata, st.integers(1, 65535), st.sampled_from(Protocol))
def test_a_resolved_type_has_the_protocol_of_its_port(
    parsed: KoiMetadata, port: int, protocol: Protocol
) -> None:
    assert resolve(port, protocol, parsed, 0).endswith(f"._{protocol}")


@given(labels, environments, st.randoms())
def test_the_order_of_labels_does_not_matter(
    given_labels: dict[str, str], environment: dict[str, str], random: Random
) -> None:
    shuffled = list(given_labels.items())
    random.shuffle(shuffled)
    assert from_labels(dict(shuffled), environment) == from_labels(given_labels, environment)


names = st.from_regex("[a-z]{1,20}", fullmatch=True).filter(lambda name: name not in REFUSING_WORDS)


@given(labels, st.none() | names, st.none() | names, st.none() | names)
def test_explicit_overrides_announce_environment_and_proxy_labels_in_this_order(
    noise: dict[str, str], explicit: str | None, announce: str | None, environment: str | None
) -> None:
    own = {"koi.name": explicit, "koi.announce": announce}
    given_labels = {key: value for key, value in noise.items() if not key.startswith("koi.")}
    given_labels |= {"caddy": "partner.lan", "traefik.enable": "false"}
    given_labels |= {key: value for key, value in own.items() if value is not None}
    variables = {} if environment is None else {"KOI_MDNS_ANNOUNCE": environment}
    expected = explicit or announce or environment or "partner"
    assert from_labels(given_labels, variables).name == expected


@given(labels, environments, st.sampled_from(["false", "False", " FALSE"]))
def test_enable_false_overrides_all_other_labels(
    others: dict[str, str], environment: dict[str, str], false: str
) -> None:
    parsed = from_labels(others | {"koi.enable": false}, environment)
    assert (parsed.enable, parsed.enabled_by) == (False, EnabledBy.EXPLICIT)
    assert parsed.source is None


@given(labels, environments, any_text | values)
def test_a_switch_in_a_label_that_does_not_say_yes_opts_out(
    others: dict[str, str], environment: dict[str, str], value: str
) -> None:
    parsed = from_labels(others | {"koi.enable": value}, environment)
    assert value.strip().lower() == "true" or parsed.enable is False


@given(labels, any_text | values)
def test_traefiks_labels_opt_in_only_if_its_switch_is_one_of_gos_words_for_true(
    others: dict[str, str], value: str
) -> None:
    given = {key: text for key, text in others.items() if key.lower().startswith("traefik.")}
    parsed = from_labels(given | {"Traefik.Enable": value}, {})
    assert value in {"1", "t", "T", "TRUE", "true", "True"} or parsed.enable is None


@given(assignments, environments, any_text | values)
def test_a_switch_in_a_unit_file_that_does_not_say_yes_opts_out(
    others: list[tuple[str, str, str]], environment: dict[str, str], value: str
) -> None:
    parsed = from_unit_keys([*others, ("Unit", "X-Koi-Enable", value)], environment)
    words = {"1", "yes", "y", "true", "t", "on"}
    assert not value.strip() or value.strip().lower() in words or parsed.enable is False


@given(metadata, metadata)
def test_enable_false_overrides_on_either_side(one: KoiMetadata, other: KoiMetadata) -> None:
    opted_out = replace(one, enable=False, enabled_by=EnabledBy.EXPLICIT)
    assert merge(opted_out, other).enable is False
    assert merge(other, opted_out).enable is False


@given(metadata, metadata, metadata)
def test_merging_is_associative_while_txt_has_room(
    one: KoiMetadata, two: KoiMetadata, three: KoiMetadata
) -> None:
    assert merge(one, merge(two, three)) == merge(merge(one, two), three)


@given(metadata)
def test_merging_with_empty_metadata_changes_nothing(parsed: KoiMetadata) -> None:
    assert merge(parsed, KoiMetadata()) == parsed
    assert merge(KoiMetadata(), parsed) == parsed
