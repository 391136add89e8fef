"""The names that no instance gets, and those that the administrator allows and denies."""

from dataclasses import replace

import pytest

from koi_agent.core.errors import BadInput
from koi_agent.core.instance import EnabledBy, KoiMetadata, RecordState
from koi_agent.core.metadata.names import RESERVED
from koi_agent.core.plan.full_names import Domains, full_name
from koi_agent.core.plan.name_rules import NameRules
from tests.unit.test_mdns_plan import POLICY, hosts, made, plan, reasons, services

WPAD = KoiMetadata(enable=True, enabled_by=EnabledBy.ANNOUNCE, name="wpad", dns_name="wpad")


@pytest.mark.parametrize("name", [*sorted(RESERVED), "WPAD", "Isatap", "wpad.local"])
def test_a_reserved_name_is_never_given(name: str) -> None:
    open_rules = NameRules(allow=("*", "wpad"))
    with pytest.raises(BadInput, match="is reserved"):
        open_rules.check(name)


@pytest.mark.parametrize("name", ["wpad", "WPAD", "isatap", "localhost", "box", "BOX", "wpad #2"])
def test_a_reserved_name_or_the_hosts_own_is_no_host_name(name: str) -> None:
    for given in (replace(WPAD, name=name, dns_name=None), replace(WPAD, dns_name=name)):
        made_plan = plan([replace(made("a", name="c1"), metadata=given)], POLICY)
        assert name.lower() not in {host.name for host in hosts(made_plan)}
    assert hosts(plan([made("a", name=name)], POLICY)) == []


def test_a_service_with_a_reserved_name_has_the_name_of_its_instance() -> None:
    made_plan = plan([replace(made("a", name="c1"), metadata=WPAD)], POLICY)
    assert [name for name, *_ in services(made_plan)] == ["c1"]
    assert hosts(made_plan) == []
    assert "'wpad' is reserved" in reasons(made_plan, RecordState.REFUSED)


@pytest.mark.parametrize(
    ("allow", "deny", "given", "refused"),
    [
        ("*", "wiki.internal", ["web.internal"], ["wiki.internal"]),
        ("*", "*.home.example", ["web.internal"], ["web.home.example", "a.b.home.example"]),
        ("*", "a.b", [], ["a.b.internal", "a.b.home.example"]),
        ("*", "web.*", [], ["web.internal", "web.a.internal"]),
        ("*", "admin*", ["web.internal"], ["admin.internal", "x.admin2.internal"]),
        ("*.internal", "", ["web.internal", "a.b.internal"], ["web.home.example"]),
        ("web*", "", ["web.internal", "web.web2.internal"], ["web.evil.internal", "a.internal"]),
        ("web.internal", "", ["web.internal"], ["web.home.example", "web.a.internal"]),
        ("*.local", "", [], ["web.internal"]),
        ("*", "*.local", ["web.internal"], []),
        ("*.internal", "w?b", ["wob2.internal"], ["web.internal"]),
    ],
)
def test_patterns_are_compared_with_whole_dns_names(
    allow: str, deny: str, given: list[str], refused: list[str]
) -> None:
    rules = NameRules(allow=tuple(allow.split()), deny=tuple(deny.split()))
    domains = Domains(main="internal", extra=("home.example",))
    policy = replace(POLICY, names=rules)
    for name in given:
        assert full_name(made("a", dns_name=name), domains, policy) == name
    for name in refused:
        with pytest.raises(BadInput, match=r"DenyNames=|AllowNames="):
            full_name(made("a", dns_name=name), domains, policy)


@pytest.mark.parametrize(
    ("allow", "deny", "name", "is_given"),
    [
        (("*",), (), "web", True),
        (("web*",), (), "web2", True),
        (("web*",), (), "shop", False),
        (("web*",), (), "WEB", True),
        (("*",), ("w?b",), "web", False),
        (("web",), ("*",), "web", False),
        (("a", "web"), ("x*",), "web", True),
        (("*.local",), (), "web", True),
        (("shop.local",), (), "web", False),
        (("*",), ("web.local",), "Web", False),
        (("*",), ("*.local",), "web", False),
    ],
)
def test_patterns_decide_and_a_denial_overrides(
    allow: tuple[str, ...], deny: tuple[str, ...], name: str, *, is_given: bool
) -> None:
    policy = replace(POLICY, names=NameRules(allow=allow, deny=deny))
    made_plan = plan([made("a", name=name)], policy)
    assert bool(hosts(made_plan)) == is_given
    assert bool(services(made_plan)) == is_given
    refused = reasons(made_plan, RecordState.REFUSED)
    assert is_given or "DenyNames=" in refused or "AllowNames=" in refused
