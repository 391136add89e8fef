import pytest

from koi_agent.core.instance import EnabledBy, KoiMetadata
from koi_agent.core.metadata.parser import from_labels

RULE = "traefik.http.routers.{}.rule"
PORT = "traefik.http.services.{}.loadbalancer.server.port"


def rule(text: str) -> KoiMetadata:
    return from_labels({RULE.format("web"): text}, {})


def caddy(addresses: str, **proxies: str) -> KoiMetadata:
    said = {f"caddy.{key}": value for key, value in proxies.items()}
    return from_labels({"caddy": addresses} | said, {})


def test_traefik_gives_names_and_the_port_that_serves() -> None:
    metadata = from_labels({RULE.format("w"): "Host(`web.lan`)", PORT.format("w"): " 8080 "}, {})
    assert metadata == KoiMetadata(
        enable=True,
        enabled_by=EnabledBy.PARTNER,
        name="web",
        dns_name="web.lan",
        port=8080,
        source="traefik-labels",
    )


@pytest.mark.parametrize(
    "text",
    [
        "Host(`a.lan`)",
        'Host("a.lan")',
        "Host( ` A.lan ` )",
        "Host(`a.lan`, `b.lan`)",
        "host(`a.lan`)",
        "HostRegexp(`^b`) || Host(`a.lan`)",
        "PathPrefix(`/x`) && Host(`a.lan`)",
        "(Host(`a.lan`) || Host(`b.lan`)) && Method(`GET`)",
        "!Host(`b.lan`) && Host(`a.lan`)",
        'Path(`/Host("b.lan")`) && Host(`a.lan`)',
        "Host(`a.lan`) &&\n  PathPrefix(`/`)",
        "Host(``) || Host(`a.lan`)",
    ],
)
def test_the_first_host_of_a_rule_counts(text: str) -> None:
    assert rule(text).dns_name == "a.lan"


@pytest.mark.parametrize(
    "text",
    [
        "HostSNI(`a.lan`)",
        "HostRegexp(`a.lan`)",
        "HostHeader(`a.lan`)",
        "PathPrefix(`/`)",
        "Host(`a.lan",
        "Host(a.lan)",
        "Host()",
        "",
    ],
)
def test_a_rule_without_a_host_says_nothing(text: str) -> None:
    assert rule(text) == KoiMetadata()


@pytest.mark.parametrize("host", ["a_b.lan", "10.0.0.1", "a\x1b.lan", "*.lan", "{env}"])
def test_an_unusable_host_is_refused_by_its_key_alone(host: str) -> None:
    metadata = rule(f"Host(`{host}`)")
    (refusal,) = metadata.refused
    assert metadata.enable is None
    assert refusal.key == RULE.format("web")
    assert host not in refusal.reason


def test_an_unusable_router_leaves_the_word_to_the_next() -> None:
    said = {RULE.format("a"): "Host(`_`)", RULE.format("b"): "Host(`b.lan`)"}
    metadata = from_labels(said, {})
    assert metadata.dns_name == "b.lan"
    assert len(metadata.refused) == 1


def test_among_routers_and_services_the_first_by_name_counts_whatever_the_order() -> None:
    said = {
        RULE.format("b"): "Host(`b.lan`)",
        RULE.format("a"): "Host(`a.lan`)",
        PORT.format("z"): "1",
        PORT.format("y"): "2",
    }
    for ordered in (said, dict(reversed(said.items()))):
        metadata = from_labels(ordered, {})
        assert (metadata.dns_name, metadata.port) == ("a.lan", 2)


@pytest.mark.parametrize("port", ["0", "x", "65536", ""])
def test_an_unusable_port_is_refused_by_its_key(port: str) -> None:
    metadata = from_labels({PORT.format("w"): port}, {})
    assert [refusal.key for refusal in metadata.refused] == [PORT.format("w")]
    assert metadata.enable is None


@pytest.mark.parametrize("word", ["false", "False", " FALSE "])
def test_traefik_turned_off_leaves_the_word_to_caddy(word: str) -> None:
    said = {"traefik.enable": word, RULE.format("a"): "Host(`a.lan`)", "caddy": "b.lan"}
    metadata = from_labels(said, {})
    assert (metadata.dns_name, metadata.source) == ("b.lan", "caddy-labels")


def test_answers_of_two_partners_are_not_mixed() -> None:
    metadata = from_labels({PORT.format("a"): "80", "caddy": "b.lan"}, {})
    assert (metadata.port, metadata.dns_name, metadata.source) == (80, None, "traefik-labels")


def test_routers_of_other_protocols_do_not_count() -> None:
    assert from_labels({"traefik.tcp.routers.a.rule": "Host(`a.lan`)"}, {}) == KoiMetadata()


@pytest.mark.parametrize(
    "addresses",
    [
        "a.lan",
        "A.lan, b.lan",
        "a.lan b.lan",
        ", a.lan",
        "https://a.lan",
        "http://a.lan:8080/x/*",
        "a.lan:443",
        ":443 a.lan",
        "*.lan a.lan",
        "(snippet) a.lan",
        "{env.HOST} {$HOST}.lan {{ .Name }}.lan a.lan",
        "[::1]:80 a.lan",
    ],
)
def test_the_first_host_of_caddys_addresses_counts(addresses: str) -> None:
    assert caddy(addresses).dns_name == "a.lan"


@pytest.mark.parametrize("addresses", ["", "(snippet)", "*.lan", ":80", "{env.X}", "{", "http://"])
def test_addresses_without_a_host_say_nothing(addresses: str) -> None:
    assert caddy(addresses) == KoiMetadata()


def test_the_site_with_the_lowest_index_counts() -> None:
    said = {"caddy_10": "d.lan", "caddy_2": "c.lan", "caddy_1": "(snippet)"}
    proxies = {"caddy_10.reverse_proxy": "{{upstreams 1}}", "caddy_2.reverse_proxy": "2"}
    assert from_labels(said | proxies, {}).dns_name == "c.lan"
    assert from_labels(said | proxies, {}).port == 2
    assert from_labels(said | {"caddy": "a.lan"}, {}).dns_name == "a.lan"


@pytest.mark.parametrize(
    ("arguments", "port"),
    [
        ("{{upstreams 8080}}", 8080),
        ("{{ upstreams http 8080 }}", 8080),
        ("/api/* {{upstreams 8080}}", 8080),
        ("{{upstreams https}}", None),
        ("{{upstreams}}", None),
        ("app:80", None),
    ],
)
def test_caddys_upstreams_name_the_port(arguments: str, port: int | None) -> None:
    assert caddy("a.lan", reverse_proxy=arguments).port == port


@pytest.mark.parametrize("key", ["handle.reverse_proxy", "1_handle.0_reverse_proxy_1"])
def test_a_nested_reverse_proxy_counts(key: str) -> None:
    assert caddy("a.lan", **{key: "{{upstreams 80}}"}).port == 80


def test_a_reverse_proxy_without_a_site_says_nothing() -> None:
    assert from_labels({"caddy.reverse_proxy": "{{upstreams 80}}"}, {}) == KoiMetadata()


def test_what_the_owner_said_stands_and_partners_fill_the_rest() -> None:
    said = {"koi.name": "Shop", "koi.port": "9000", "caddy": "a.lan"}
    metadata = from_labels(said | {"caddy.reverse_proxy": "80"}, {})
    assert (metadata.name, metadata.dns_name, metadata.port) == ("Shop", "a.lan", 9000)
    assert (metadata.enable, metadata.source) == (True, "caddy-labels")


def test_a_partner_that_adds_nothing_is_no_source_yet_enables() -> None:
    metadata = from_labels({"koi.name": "a", "koi.dns.name": "a.lan", "caddy": "b.lan"}, {})
    assert (metadata.enabled_by, metadata.source) == (EnabledBy.PARTNER, None)
    metadata = from_labels({"koi.port": "1", PORT.format("a"): "80"}, {})
    assert (metadata.port, metadata.enabled_by, metadata.source) == (1, EnabledBy.PARTNER, None)


def test_a_label_too_long_to_look_at_is_refused() -> None:
    (refusal,) = caddy("a.lan " * 1000).refused
    assert refusal.key == "caddy"
