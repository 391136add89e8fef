"""The host and port that labels of Traefik and Caddy name."""

import pytest

from koi_agent.core.instance import EnabledBy, KoiMetadata
from koi_agent.core.metadata.parser import from_labels

RULE = "traefik.http.routers.{}.rule"
PORT = "traefik.http.services.{}.loadbalancer.server.port"


def rule(text: str) -> KoiMetadata:
    return from_labels({RULE.format("web"): text}, {})


def caddy(addresses: str, **proxies: str) -> KoiMetadata:
    directives = {f"caddy.{key}": value for key, value in proxies.items()}
    return from_labels({"caddy": addresses} | directives, {})


def test_traefik_labels_set_names_and_port() -> None:
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
        "!(Host(`b.lan`)) && Host(`a.lan`)",
        "! ( Path(`/`) || (Host(`b.lan`) && Host(`c.lan`)) ) && Host(`a.lan`)",
        "(!Host(`b.lan`)) && (Host(`a.lan`))",
        "!Method(`GET`) && Host(`a.lan`)",
        "!!Host(`b.lan`) && Host(`a.lan`)",
        "Host(`a.lan`) && !(Host(`b.lan`))",
        r'Path("/\") && Host(`b.lan`) \"") && Host("a.lan")',
        'HostRegexp(`{x:.*}`) || Host("a.lan", `b.lan`)',
        'Header(`Host`, "Host(`b.lan`)") || Host(`a.lan`)',
    ],
)
def test_the_first_host_of_a_rule_is_used(text: str) -> None:
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
        "!Host(`a.lan`)",
        "!(Host(`a.lan`))",
        "!(Path(`/`) && (Host(`a.lan`) || Host(`b.lan`)))",
        "!!Host(`a.lan`)",
        'Host(`a.lan")',
        "Host('a.lan')",
        "Host(`a.lan`))",
        "(Host(`a.lan`)",
        "Path(`Host(`a.lan`)",
        "",
    ],
)
def test_a_rule_without_a_host_is_ignored(text: str) -> None:
    assert rule(text) == KoiMetadata()


@pytest.mark.parametrize("host", ["a_b.lan", "10.0.0.1", "a\x1b.lan", "*.lan", "{env}"])
def test_the_refusal_of_an_invalid_host_does_not_show_it(host: str) -> None:
    metadata = rule(f"Host(`{host}`)")
    (refusal,) = metadata.refused
    assert metadata.enable is None
    assert refusal.key == RULE.format("web")
    assert host not in refusal.reason


def test_the_next_router_is_used_if_the_host_of_the_first_is_invalid() -> None:
    labels = {RULE.format("a"): "Host(`_`)", RULE.format("b"): "Host(`b.lan`)"}
    metadata = from_labels(labels, {})
    assert metadata.dns_name == "b.lan"
    assert len(metadata.refused) == 1


def test_the_first_router_and_service_by_name_are_used() -> None:
    labels = {
        RULE.format("b"): "Host(`b.lan`)",
        RULE.format("a"): "Host(`a.lan`)",
        PORT.format("z"): "1",
        PORT.format("y"): "2",
    }
    for ordered in (labels, dict(reversed(labels.items()))):
        metadata = from_labels(ordered, {})
        assert (metadata.dns_name, metadata.port) == ("a.lan", 2)


@pytest.mark.parametrize("port", ["0", "x", "65536", ""])
def test_an_invalid_port_is_refused(port: str) -> None:
    metadata = from_labels({PORT.format("w"): port}, {})
    assert [refusal.key for refusal in metadata.refused] == [PORT.format("w")]
    assert metadata.enable is None


@pytest.mark.parametrize("word", ["false", "f", "0", "no"])
def test_caddy_labels_are_used_if_traefik_is_disabled(word: str) -> None:
    labels = {"traefik.enable": word, RULE.format("a"): "Host(`a.lan`)", "caddy": "b.lan"}
    metadata = from_labels(labels, {})
    assert (metadata.dns_name, metadata.source) == ("b.lan", "caddy-labels")


def test_labels_of_traefik_and_caddy_are_not_combined() -> None:
    metadata = from_labels({PORT.format("a"): "80", "caddy": "b.lan"}, {})
    assert (metadata.port, metadata.dns_name, metadata.source) == (80, None, "traefik-labels")


def test_routers_of_other_protocols_are_ignored() -> None:
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
def test_the_first_host_of_caddys_addresses_is_used(addresses: str) -> None:
    assert caddy(addresses).dns_name == "a.lan"


@pytest.mark.parametrize("addresses", ["", "(snippet)", "*.lan", ":80", "{env.X}", "{", "http://"])
def test_addresses_without_a_host_are_ignored(addresses: str) -> None:
    assert caddy(addresses) == KoiMetadata()


def test_the_site_with_the_lowest_index_is_used() -> None:
    sites = {"caddy_10": "d.lan", "caddy_2": "c.lan", "caddy_1": "(snippet)"}
    proxies = {"caddy_10.reverse_proxy": "{{upstreams 1}}", "caddy_2.reverse_proxy": "2"}
    assert from_labels(sites | proxies, {}).dns_name == "c.lan"
    assert from_labels(sites | proxies, {}).port == 2
    assert from_labels(sites | {"caddy": "a.lan"}, {}).dns_name == "a.lan"


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
def test_a_nested_reverse_proxy_is_read(key: str) -> None:
    assert caddy("a.lan", **{key: "{{upstreams 80}}"}).port == 80


def test_a_reverse_proxy_without_a_site_is_ignored() -> None:
    assert from_labels({"caddy.reverse_proxy": "{{upstreams 80}}"}, {}) == KoiMetadata()


def test_koi_keys_take_precedence_over_proxy_labels() -> None:
    labels = {"koi.name": "Shop", "koi.port": "9000", "caddy": "a.lan"}
    metadata = from_labels(labels | {"caddy.reverse_proxy": "80"}, {})
    assert (metadata.name, metadata.dns_name, metadata.port) == ("Shop", "a.lan", 9000)
    assert (metadata.enable, metadata.source) == (True, "caddy-labels")


def test_proxy_labels_opt_in_even_if_all_fields_are_set() -> None:
    metadata = from_labels({"koi.name": "a", "koi.dns.name": "a.lan", "caddy": "b.lan"}, {})
    assert (metadata.enabled_by, metadata.source) == (EnabledBy.PARTNER, None)
    metadata = from_labels({"koi.port": "1", PORT.format("a"): "80"}, {})
    assert (metadata.port, metadata.enabled_by, metadata.source) == (1, EnabledBy.PARTNER, None)


def test_a_label_that_is_too_long_is_refused() -> None:
    (refusal,) = caddy("a.lan " * 1000).refused
    assert refusal.key == "caddy"
