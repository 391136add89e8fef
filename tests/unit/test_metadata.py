"""The keys of the koi namespace in all spellings, and the precedence of their sources."""

import pytest

from koi_agent.capabilities import capabilities
from koi_agent.core.instance import EnabledBy, KoiMetadata, PortMetadata, Protocol, Refusal
from koi_agent.core.metadata.keys import ANNOTATION, CONFIG_KEY, KEYS, LABEL, UNIT, KeyRow, Spelling
from koi_agent.core.metadata.parser import (
    MOST_KEYS,
    from_annotations,
    from_config_keys,
    from_labels,
    from_unit_keys,
    merge,
)


def labels(**values: str) -> KoiMetadata:
    """Parse labels of the koi namespace; an underscore in a name stands for a dot."""
    return from_labels({f"koi.{key.replace('_', '.')}": value for key, value in values.items()}, {})


def unit(*assignments: str) -> KoiMetadata:
    """Parse assignments of a [Service] section."""
    pairs = (line.split("=", 1) for line in assignments)
    return from_unit_keys([("Service", key, value) for key, value in pairs], {})


def only_refusal(metadata: KoiMetadata) -> Refusal:
    (refusal,) = metadata.refused
    return refusal


# One value for each key that is valid in every spelling, and the parsed value.
VALUES: dict[str, tuple[str, object]] = {
    "enable": ("true", True),
    "mdns.enable": ("false", False),
    "dns.enable": ("false", False),
    "health.enable": ("false", False),
    "proxy.enable": ("false", False),
    "announce": ("web", None),
    "type": ("_http._tcp", "_http._tcp"),
    "name": ("Web", "Web"),
    "dns.name": ("web.lan", "web.lan"),
    "txt.<k>": ("x", (("path", "x"),)),
    "port": ("8080", 8080),
    "health.host": ("Wiki.LAN.", "wiki.lan"),
    "health.path": ("/live", "/live"),
    "health.kind": ("tcp", "tcp"),
    "health.scheme": ("https", "https"),
    "proxy.scheme": ("https", "https"),
    "health.interval": ("30", 30),
    "health.timeout": ("5", 5),
    "proxy.port": ("443", 443),
    "proxy.remote": ("false", False),
    "certmesh": ("True", True),
    "subtypes": ("_printer, _scanner", ("_printer", "_scanner")),
    "<port>.type": ("_dns._udp", "_dns._udp"),
    "<port>.subtypes": ("_recursive", ("_recursive",)),
    "<port>.name": ("Names", "Names"),
    "<port>.txt.<k>": ("y", (("path", "y"),)),
}
PORTS = {LABEL: "53/udp", CONFIG_KEY: "53/udp", ANNOTATION: "53-udp", UNIT: "53-udp"}


PLAIN_KEYS = [key for key in KEYS if "<port>" not in key.name and key.name != "announce"]


def in_spelling(spelling: Spelling, name: str) -> str:
    key = spelling.write(name).replace("<k>", "path").replace("<port>", PORTS[spelling])
    return spelling.prefix + key


def in_all_spellings(name: str) -> list[KoiMetadata]:
    value = VALUES[name][0]
    return [
        from_labels({in_spelling(LABEL, name): value}, {}),
        from_config_keys({in_spelling(CONFIG_KEY, name): value}),
        from_annotations({in_spelling(ANNOTATION, name): value}),
        from_unit_keys([("Service", in_spelling(UNIT, name), value)], {}),
        from_unit_keys([("X-Koi", in_spelling(UNIT, name).removeprefix("X-Koi-"), value)], {}),
    ]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_all_spellings_of_a_key_mean_the_same(key: KeyRow) -> None:
    readings = in_all_spellings(key.name)
    assert readings == [readings[0]] * 5
    assert readings[0] != KoiMetadata()
    assert not readings[0].refused


@pytest.mark.parametrize("key", PLAIN_KEYS, ids=lambda key: key.name)
def test_a_key_sets_its_field(key: KeyRow) -> None:
    assert getattr(in_all_spellings(key.name)[0], key.field) == VALUES[key.name][1]


def test_every_capability_has_keys() -> None:
    assert {one.name for one in capabilities()} <= {key.capability for key in KEYS}


@pytest.mark.parametrize(
    ("key", "value", "capability"),
    [
        ("koi.health.path", "live", "health"),
        ("koi.proxy.port", "0", "proxy"),
        ("koi.53/udp.type", "_dns._tcp", "mdns"),
        ("koi.txt.k", "v" * 300, "mdns"),
        ("koi.port", "http", ""),
        ("koi.announce", "", ""),
        ("koi.colour", "red", ""),
    ],
)
def test_a_refusal_has_the_capability_of_its_key(key: str, value: str, capability: str) -> None:
    assert only_refusal(from_labels({key: value}, {})).capability == capability


def test_a_txt_string_that_does_not_fit_is_refused_for_mdns() -> None:
    metadata = from_labels({f"koi.txt.{key}": "v" * 250 for key in "abcdef"}, {})
    assert [refusal.capability for refusal in metadata.refused] == ["mdns"]


def test_a_key_of_one_port_applies_to_that_port_only() -> None:
    metadata = from_labels(
        {
            "koi.443.type": "_http._tcp",
            "koi.53/udp.name": "Names",
            "koi.53/udp.txt.v": "1",
            "koi.53/tcp.name": "Names too",
        },
        {},
    )
    assert metadata == KoiMetadata(
        ports=(
            ((53, Protocol.TCP), PortMetadata(name="Names too")),
            ((53, Protocol.UDP), PortMetadata(name="Names", txt=(("v", "1"),))),
            ((443, Protocol.TCP), PortMetadata(type="_http._tcp")),
        )
    )


def test_a_port_in_a_unit_file_may_have_a_slash() -> None:
    assert unit("X-Koi-Port-53/udp-Name=n") == unit("X-Koi-Port-53-udp-Name=n")


def test_a_second_spelling_of_a_port_is_refused() -> None:
    metadata = from_labels({"koi.80/tcp.name": "b", "koi.80.name": "a"}, {})
    assert metadata.ports == (((80, Protocol.TCP), PortMetadata(name="a")),)
    assert only_refusal(metadata) == Refusal(
        key="koi.80/tcp.name",
        reason="koi.80.name sets the same value already",
        capability="mdns",
    )


def test_a_service_type_of_another_protocol_is_refused_for_a_port() -> None:
    metadata = from_labels({"koi.53/udp.type": "_dns._tcp"}, {})
    assert not metadata.ports
    assert "udp port" in only_refusal(metadata).reason


def test_announce_opts_in_and_sets_both_names() -> None:
    assert labels(announce="Web") == KoiMetadata(
        enable=True, enabled_by=EnabledBy.ANNOUNCE, name="Web", dns_name="web"
    )


def test_explicit_names_override_announce() -> None:
    metadata = labels(announce="web", name="Shop", dns_name="shop")
    assert (metadata.name, metadata.dns_name, metadata.enable) == ("Shop", "shop", True)


def test_announce_with_a_space_is_a_service_name_only() -> None:
    metadata = labels(announce="My App")
    assert (metadata.enable, metadata.name, metadata.dns_name) == (True, "My App", None)
    refusal = only_refusal(metadata)
    assert (refusal.key, refusal.part) == ("koi.announce", "host name")
    assert "'My App' is not a DNS name" in refusal.reason
    assert refusal.reason.endswith("; announced as service 'My App'")


@pytest.mark.parametrize("value", ["x y", "Büro", "a_b", "1.2.3.4"])
def test_refused_use_of_a_value_names_the_use_that_counts(value: str) -> None:
    refusal = only_refusal(labels(announce=value, name="Own"))
    assert refusal.part == "host name"
    assert refusal.reason.endswith("; announced as service 'Own'")


def test_announce_that_is_too_long_for_a_service_is_a_host_name_only() -> None:
    host = ".".join(["a" * 40] * 2)
    refusal = only_refusal(labels(announce=host))
    assert refusal.part == "service"
    assert refusal.reason.endswith(f"; announced as host name '{host[:40]}'…")


def test_announce_with_a_space_is_not_refused_if_a_dns_name_is_set() -> None:
    metadata = labels(announce="My App", dns_name="app")
    assert (metadata.name, metadata.dns_name, metadata.refused) == ("My App", "app", ())


def test_announce_without_a_valid_name_does_not_opt_in() -> None:
    metadata = labels(announce="no name " * 20)
    assert (metadata.enable, metadata.enabled_by) == (None, None)
    assert [refusal.part for refusal in metadata.refused] == ["service", "host name"]


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_announce_is_refused_in_every_source(value: str) -> None:
    for metadata, key in (
        (labels(announce=value), "koi.announce"),
        (from_labels({}, {"KOI_MDNS_ANNOUNCE": value}), "KOI_MDNS_ANNOUNCE"),
        (
            from_config_keys({"environment.KOI_MDNS_ANNOUNCE": value}),
            "environment.KOI_MDNS_ANNOUNCE",
        ),
    ):
        refused = Refusal(key=key, reason="the value is empty")
        assert metadata == KoiMetadata(refused=(refused,))


def test_the_environment_variable_means_the_same_in_each_runtime() -> None:
    environment = {"KOI_MDNS_ANNOUNCE": "web"}
    expected = KoiMetadata(
        enable=True, enabled_by=EnabledBy.ENVIRONMENT, name="web", dns_name="web"
    )
    assert from_labels({}, environment) == expected
    assert from_unit_keys([], environment) == expected
    assert from_config_keys({"environment.KOI_MDNS_ANNOUNCE": "web"}) == expected


TRAEFIK = {"traefik.http.routers.a.rule": "Host(`d.lan`)"}


@pytest.mark.parametrize(
    ("given", "environment", "name", "by"),
    [
        ({"koi.name": "A", "koi.enable": "true", "koi.announce": "b"}, "c", "A", "explicit"),
        ({"koi.announce": "b"}, "c", "b", "announce"),
        ({}, "c", "c", "environment"),
        ({}, None, "d", "partner"),
    ],
)
def test_the_stronger_source_takes_precedence(
    given: dict[str, str], environment: str | None, name: str, by: str
) -> None:
    variables = {} if environment is None else {"KOI_MDNS_ANNOUNCE": environment}
    metadata = from_labels(given | TRAEFIK, variables)
    assert (metadata.enable, metadata.name, metadata.enabled_by) == (True, name, by)


def test_a_weaker_source_applies_if_the_stronger_value_is_invalid() -> None:
    metadata = from_labels(
        {"koi.name": "", "koi.announce": "\x1b[2J"}, {"KOI_MDNS_ANNOUNCE": "web"}
    )
    assert (metadata.enable, metadata.enabled_by) == (True, EnabledBy.ENVIRONMENT)
    assert metadata.name == "web"
    assert [refusal.key for refusal in metadata.refused] == [
        "koi.announce",
        "koi.name",
    ]


def test_enable_false_overrides_everything() -> None:
    metadata = from_labels(
        {"koi.enable": "False", "koi.announce": "web"} | TRAEFIK, {"KOI_MDNS_ANNOUNCE": "web"}
    )
    assert (metadata.enable, metadata.enabled_by) == (False, EnabledBy.EXPLICIT)
    assert metadata.source is None


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("koi.enabled", "; did you mean koi.enable?"),
        ("koi.dnsname", "; did you mean koi.dns.name?"),
        ("koi.Health.Path", "; did you mean koi.health.path?"),
        ("koi.8080.colour", ""),
        ("koi.", ""),
        ("koi.txt.", ""),
        ("koi.colour", ""),
    ],
)
def test_the_refusal_of_an_unknown_key_suggests_a_similar_one(key: str, hint: str) -> None:
    refusal = only_refusal(from_labels({key: "x"}, {}))
    assert refusal.key == key
    assert refusal.reason.startswith("unknown key")
    assert hint in refusal.reason


def test_a_suggestion_has_the_spelling_of_its_source() -> None:
    assert "X-Koi-DnsName?" in only_refusal(unit("X-Koi-DNSName=web")).reason


def test_labels_with_another_prefix_are_ignored() -> None:
    assert (
        from_labels({"koi": "x", "koio.enable": "true", "com.koi.name": "x"}, {}) == KoiMetadata()
    )


def test_a_later_assignment_in_a_unit_file_overrides_in_either_spelling() -> None:
    both = [("Unit", "X-Koi-Name", "first"), ("X-Koi", "Name", "second")]
    assert from_unit_keys(both, {}).name == "second"
    assert from_unit_keys(both[::-1], {}).name == "first"


def test_an_empty_assignment_in_a_unit_file_resets_the_key() -> None:
    metadata = unit("X-Koi-Enable=no", "X-Koi-Txt-v=1", "X-Koi-Enable=", "X-Koi-Txt-v=")
    assert metadata == KoiMetadata()


def test_an_invalid_assignment_in_a_unit_file_keeps_the_one_before() -> None:
    metadata = unit("X-Koi-Port=80", "X-Koi-Port=many")
    assert metadata.port == 80
    assert only_refusal(metadata).key == "X-Koi-Port"


def test_a_refusal_names_the_section_of_an_unprefixed_key() -> None:
    metadata = from_unit_keys([("X-Koi", "Enable", "maybe"), ("Service", "Enable", "x")], {})
    assert only_refusal(metadata).key == "[X-Koi] Enable"


def test_keys_beyond_the_limit_are_not_read() -> None:
    many = {f"koi.{port}.name": "n" for port in range(10_000, 10_002 + MOST_KEYS)}
    metadata = from_labels(many, {})
    assert len(metadata.ports) == MOST_KEYS
    assert "too many" in only_refusal(metadata).reason


def test_labels_override_unit_keys_field_by_field() -> None:
    container = from_labels({"koi.name": "A", "koi.txt.v": "1", "koi.80.name": "p"}, {})
    claimed = unit(
        "X-Koi-Name=B",
        "X-Koi-Enable=yes",
        "X-Koi-Txt-V=2",
        "X-Koi-Txt-a=3",
        "X-Koi-Port-80-Name=q",
        "X-Koi-Port-80-Type=_http._tcp",
        "X-Koi-Colour=x",
    )
    merged = merge(container, claimed)
    assert merged == KoiMetadata(
        enable=True,
        enabled_by=EnabledBy.EXPLICIT,
        name="A",
        txt=(("a", "3"), ("v", "1")),
        ports=(((80, Protocol.TCP), PortMetadata(name="p", type="_http._tcp")),),
        refused=claimed.refused,
    )


def test_enable_false_in_a_unit_file_overrides_labels() -> None:
    for given in ({"koi.enable": "true"}, {"koi.announce": "web"}, TRAEFIK):
        assert merge(from_labels(given, {}), unit("X-Koi-Enable=off")).enable is False
