"""The Host field of HTTP checks: the name by which others request the instance."""

from dataclasses import replace
from typing import Any

import pytest

from koi_agent.capabilities.health.checks import HealthCheck
from koi_agent.capabilities.health.rules import HealthRules
from koi_agent.core.instance import EnabledBy, Instance, KoiMetadata
from koi_agent.core.metadata.parser import from_labels, from_unit_keys
from koi_agent.core.plan.name_rules import NameRules
from koi_agent.core.plan.requests import Policy
from tests.unit.test_mdns_plan import POLICY, made, port


def host(instance: Instance, policy: Policy, **fields: Any) -> str:
    metadata = KoiMetadata(enable=True, enabled_by=EnabledBy.EXPLICIT, **fields)
    requests = HealthRules(policy).requests(replace(instance, metadata=metadata)).requests
    (check,) = [one for one in requests if isinstance(one, HealthCheck)]
    return check.host


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "web.local"),
        ({"name": "Wiki"}, "wiki.local"),
        ({"name": "Wiki", "dns_name": "docs"}, "docs.local"),
        ({"name": "Wiki", "dns_name": "docs.local"}, "docs.local"),
        ({"health_host": "shop.example.org", "dns_name": "docs"}, "shop.example.org"),
        ({"name": "My App"}, ""),
        ({"dns_name": "wiki.example.org"}, ""),
        ({"dns_name": "box"}, ""),
        ({"dns_name": "wpad"}, ""),
    ],
)
def test_the_host_is_the_announced_name(fields: dict[str, Any], expected: str) -> None:
    assert host(made(), POLICY, health_path="/", **fields) == expected


def test_the_name_of_an_instance_that_is_not_announced_is_not_sent() -> None:
    assert host(made("a", port(80, ip="127.0.0.1")), POLICY, health_path="/") == ""
    denied = replace(POLICY, names=NameRules(deny=("w*",)))
    assert host(made(), denied, health_path="/") == ""


def test_a_check_by_tcp_has_no_host() -> None:
    assert host(made(), POLICY) == ""


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a b",
        "a\r\nX-Evil: 1",
        "a\n",
        "a\x00",
        "a:80",
        "http://a",
        "a/b",
        "192.0.2.1",
        "[::1]",
        "a,b",
        "ä.lan",
        "-a",
        "x" * 254,
    ],
)
def test_what_is_no_host_name_is_refused(value: str) -> None:
    labels = {"koi.enable": "true", "koi.health.host": value}
    metadata = from_labels(labels, {})
    assert metadata.health_host is None
    if value:
        assert [one.key for one in metadata.refused] == ["koi.health.host"]
        assert from_unit_keys([("X-Koi", "HealthHost", value)], {}).health_host is None


def test_a_host_name_is_accepted_in_any_case() -> None:
    assert from_labels({"koi.health.host": "LocalHost"}, {}).health_host == "localhost"
    assert from_unit_keys([("X-Koi", "HealthHost", "A.lan")], {}).health_host == "a.lan"
