import pytest

from koi_agent.core.instance import EnabledBy, KoiMetadata, PortMetadata, Protocol, Refusal
from koi_agent.core.metadata.keys import ANNOTATION, INCUS, KEYS, LABEL, UNIT, Key, Spelling
from koi_agent.core.metadata.parser import (
    MOST_KEYS,
    from_annotations,
    from_incus_config,
    from_labels,
    from_unit_keys,
    over,
)


def labels(**said: str) -> KoiMetadata:
    """Read labels written with underscores for dots."""
    return from_labels({f"koi.{key.replace('_', '.')}": value for key, value in said.items()}, {})


def unit(*assignments: str) -> KoiMetadata:
    """Read assignments of a [Service] section."""
    pairs = (line.split("=", 1) for line in assignments)
    return from_unit_keys([("Service", key, value) for key, value in pairs], {})


def only_refusal(metadata: KoiMetadata) -> Refusal:
    (refusal,) = metadata.refused
    return refusal


# One value that every spelling of a key reads, and what it means.
VALUES: dict[str, tuple[str, object]] = {
    "enable": ("true", True),
    "announce": ("web", None),
    "type": ("_http._tcp", "_http._tcp"),
    "name": ("Web", "Web"),
    "dns.name": ("web.lan", "web.lan"),
    "txt.<k>": ("x", (("path", "x"),)),
    "port": ("8080", 8080),
    "health.path": ("/live", "/live"),
    "health.kind": ("tcp", "tcp"),
    "health.scheme": ("https", "https"),
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
PORTS = {LABEL: "53/udp", INCUS: "53/udp", ANNOTATION: "53-udp", UNIT: "53-udp"}


PLAIN_KEYS = [key for key in KEYS if "<port>" not in key.name and key.name != "announce"]


def spelled(spelling: Spelling, name: str) -> str:
    form = spelling.form(name).replace("<k>", "path").replace("<port>", PORTS[spelling])
    return spelling.prefix + form


def in_all_spellings(name: str) -> list[KoiMetadata]:
    value = VALUES[name][0]
    return [
        from_labels({spelled(LABEL, name): value}, {}),
        from_incus_config({spelled(INCUS, name): value}),
        from_annotations({spelled(ANNOTATION, name): value}),
        from_unit_keys([("Service", spelled(UNIT, name), value)], {}),
        from_unit_keys([("X-Koi", spelled(UNIT, name).removeprefix("X-Koi-"), value)], {}),
    ]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_all_spellings_of_a_key_mean_the_same(key: Key) -> None:
    readings = in_all_spellings(key.name)
    assert readings == [readings[0]] * 5
    assert readings[0] != KoiMetadata()
    assert not readings[0].refused


@pytest.mark.parametrize("key", PLAIN_KEYS, ids=lambda key: key.name)
def test_a_key_fills_its_field(key: Key) -> None:
    assert getattr(in_all_spellings(key.name)[0], key.field) == VALUES[key.name][1]


def test_a_key_of_a_port_fills_that_port_alone() -> None:
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


def test_a_unit_file_may_spell_a_port_with_a_slash() -> None:
    assert unit("X-Koi-Port-53/udp-Name=n") == unit("X-Koi-Port-53-udp-Name=n")


def test_a_port_spelled_twice_is_refused_the_second_time() -> None:
    metadata = from_labels({"koi.80/tcp.name": "b", "koi.80.name": "a"}, {})
    assert metadata.ports == (((80, Protocol.TCP), PortMetadata(name="a")),)
    assert only_refusal(metadata) == Refusal(
        key="koi.80/tcp.name", reason="koi.80.name says it already"
    )


def test_a_port_type_of_the_other_transport_is_refused() -> None:
    metadata = from_labels({"koi.53/udp.type": "_dns._tcp"}, {})
    assert not metadata.ports
    assert "udp port" in only_refusal(metadata).reason


def test_announce_enables_and_gives_both_names() -> None:
    assert labels(announce="Web") == KoiMetadata(
        enable=True, enabled_by=EnabledBy.ANNOUNCE, name="Web", dns_name="web"
    )


def test_explicit_names_come_before_announce() -> None:
    metadata = labels(announce="web", name="Shop", dns_name="shop")
    assert (metadata.name, metadata.dns_name, metadata.enable) == ("Shop", "shop", True)


def test_announce_that_is_no_dns_name_is_still_a_service_name() -> None:
    metadata = labels(announce="My App")
    assert (metadata.enable, metadata.name, metadata.dns_name) == (True, "My App", None)
    assert only_refusal(metadata).key == "koi.announce"
    assert "no DNS name" in only_refusal(metadata).reason


def test_announce_that_is_no_dns_name_is_not_refused_where_a_dns_name_is_given() -> None:
    metadata = labels(announce="My App", dns_name="app")
    assert (metadata.name, metadata.dns_name, metadata.refused) == ("My App", "app", ())


def test_announce_that_is_no_name_at_all_enables_nothing() -> None:
    metadata = labels(announce="no name " * 20)
    assert (metadata.enable, metadata.enabled_by, len(metadata.refused)) == (None, None, 2)


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_announce_is_refused_wherever_it_stands(value: str) -> None:
    for metadata, key in (
        (labels(announce=value), "koi.announce"),
        (from_labels({}, {"KOI_MDNS_ANNOUNCE": value}), "KOI_MDNS_ANNOUNCE"),
        (
            from_incus_config({"environment.KOI_MDNS_ANNOUNCE": value}),
            "environment.KOI_MDNS_ANNOUNCE",
        ),
    ):
        refused = Refusal(key=key, reason="the value is empty")
        assert metadata == KoiMetadata(refused=(refused,))


def test_the_environment_means_the_same_in_each_runtime_that_has_one() -> None:
    environment = {"KOI_MDNS_ANNOUNCE": "web"}
    wanted = KoiMetadata(enable=True, enabled_by=EnabledBy.ENVIRONMENT, name="web", dns_name="web")
    assert from_labels({}, environment) == wanted
    assert from_unit_keys([], environment) == wanted
    assert from_incus_config({"environment.KOI_MDNS_ANNOUNCE": "web"}) == wanted


TRAEFIK = {"traefik.http.routers.a.rule": "Host(`d.lan`)"}


@pytest.mark.parametrize(
    ("said", "environment", "name", "by"),
    [
        ({"koi.name": "A", "koi.enable": "true", "koi.announce": "b"}, "c", "A", "explicit"),
        ({"koi.announce": "b"}, "c", "b", "announce"),
        ({}, "c", "c", "environment"),
        ({}, None, "d", "partner"),
    ],
)
def test_the_stronger_source_wins(
    said: dict[str, str], environment: str | None, name: str, by: str
) -> None:
    variables = {} if environment is None else {"KOI_MDNS_ANNOUNCE": environment}
    metadata = from_labels(said | TRAEFIK, variables)
    assert (metadata.enable, metadata.name, metadata.enabled_by) == (True, name, by)


def test_what_cannot_be_read_leaves_the_weaker_value_standing() -> None:
    metadata = from_labels(
        {"koi.enable": "yes", "koi.name": "", "koi.announce": "\x1b[2J"},
        {"KOI_MDNS_ANNOUNCE": "web"},
    )
    assert (metadata.enable, metadata.enabled_by) == (True, EnabledBy.ENVIRONMENT)
    assert metadata.name == "web"
    assert [refusal.key for refusal in metadata.refused] == [
        "koi.announce",
        "koi.enable",
        "koi.name",
    ]


def test_enable_false_wins_over_everything() -> None:
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
def test_an_unknown_key_is_refused_with_the_nearest_one(key: str, hint: str) -> None:
    refusal = only_refusal(from_labels({key: "x"}, {}))
    assert refusal.key == key
    assert refusal.reason.startswith("unknown key")
    assert hint in refusal.reason


def test_a_hint_is_in_the_spelling_of_its_source() -> None:
    assert "X-Koi-DnsName?" in only_refusal(unit("X-Koi-DNSName=web")).reason


def test_labels_of_others_are_no_business_of_ours() -> None:
    assert (
        from_labels({"koi": "x", "koio.enable": "true", "com.koi.name": "x"}, {}) == KoiMetadata()
    )


def test_a_later_assignment_in_a_unit_file_wins_in_either_spelling() -> None:
    both = [("Unit", "X-Koi-Name", "first"), ("X-Koi", "Name", "second")]
    assert from_unit_keys(both, {}).name == "second"
    assert from_unit_keys(both[::-1], {}).name == "first"


def test_an_empty_assignment_in_a_unit_file_takes_back_what_was_said() -> None:
    metadata = unit("X-Koi-Enable=no", "X-Koi-Txt-v=1", "X-Koi-Enable=", "X-Koi-Txt-v=")
    assert metadata == KoiMetadata()


def test_a_faulty_assignment_in_a_unit_file_leaves_the_one_before() -> None:
    metadata = unit("X-Koi-Enable=yes", "X-Koi-Enable=maybe")
    assert metadata.enable is True
    assert only_refusal(metadata).key == "X-Koi-Enable"


def test_a_refusal_from_the_own_section_names_the_section() -> None:
    metadata = from_unit_keys([("X-Koi", "Enable", "maybe"), ("Service", "Enable", "x")], {})
    assert only_refusal(metadata).key == "[X-Koi] Enable"


def test_keys_beyond_the_bound_are_not_read() -> None:
    many = {f"koi.{port}.name": "n" for port in range(10_000, 10_002 + MOST_KEYS)}
    metadata = from_labels(many, {})
    assert len(metadata.ports) == MOST_KEYS
    assert "too many" in only_refusal(metadata).reason


def test_labels_come_over_unit_keys_field_by_field() -> None:
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
    merged = over(container, claimed)
    assert merged == KoiMetadata(
        enable=True,
        enabled_by=EnabledBy.EXPLICIT,
        name="A",
        txt=(("a", "3"), ("v", "1")),
        ports=(((80, Protocol.TCP), PortMetadata(name="p", type="_http._tcp")),),
        refused=claimed.refused,
    )


def test_an_explicit_no_of_the_unit_stands_against_labels() -> None:
    for said in ({"koi.enable": "true"}, {"koi.announce": "web"}, TRAEFIK):
        assert over(from_labels(said, {}), unit("X-Koi-Enable=off")).enable is False
