"""Opting out: a switch that can't be read, or that is misspelled, counts as no."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from koi_agent.backends.docker.images import Image, own_labels
from koi_agent.backends.docker.kinds import KINDS
from koi_agent.backends.docker.labels import parse_labels
from koi_agent.capabilities.dns.rules import DnsRules
from koi_agent.capabilities.health.rules import HealthRules
from koi_agent.capabilities.mdns.rules import MdnsRules
from koi_agent.core.instance import EnabledBy, KoiMetadata
from koi_agent.core.metadata.parser import (
    MOST_KEYS,
    from_annotations,
    from_config_keys,
    from_labels,
    from_unit_keys,
    merge,
)
from koi_agent.core.plan.full_names import Domains
from koi_agent.core.plan.requests import Rules
from koi_agent.host.engines import is_used_label
from tests.unit.test_mdns_plan import POLICY, made

RULE = {"traefik.http.routers.a.rule": "Host(`a.lan`)"}
ANNOUNCE = {"koi.announce": "web"}
UNREADABLE = [
    "no",
    "0",
    "off",
    "n",
    "never",
    "",
    " ",
    "falsch",
    "\x1b",
    "null",
    "true false",
    "yes",
]


def has_reason(metadata: KoiMetadata, key: str) -> bool:
    return any(one.key == key and "counts as no" in one.reason for one in metadata.refused)


@pytest.mark.parametrize("value", UNREADABLE)
def test_a_switch_that_cannot_be_read_opts_out_whatever_opts_in(value: str) -> None:
    for given in (ANNOUNCE, RULE, {"caddy": "a.lan"}, {}):
        metadata = from_labels({"koi.enable": value} | given, {"KOI_MDNS_ANNOUNCE": "web"})
        assert (metadata.enable, metadata.enabled_by) == (False, EnabledBy.EXPLICIT)
        assert has_reason(metadata, "koi.enable")


@pytest.mark.parametrize(
    "key",
    ["koi.Enable", "Koi.enable", "KOI.ENABLE", "koi.enabled", "koi.ENABLED", "koi.enabled_"],
)
def test_a_misspelled_switch_opts_out_unless_it_says_yes(key: str) -> None:
    assert is_used_label(key)
    for value in ("false", "no", "0", ""):
        metadata = from_labels({key: value} | ANNOUNCE | RULE, {})
        assert metadata.enable is False
        assert has_reason(metadata, key)
    metadata = from_labels({key: "true"} | ANNOUNCE, {})
    assert metadata.enable is True
    assert from_labels({key: "true"}, {}).enable is None
    assert "did you mean koi.enable?" in metadata.refused[0].reason


@pytest.mark.parametrize("key", ["koi.disable", "koi.disabled", "koi.Disabled"])
def test_a_switch_that_disables_opts_out_unless_it_says_no(key: str) -> None:
    assert from_labels({key: "true"} | ANNOUNCE, {}).enable is False
    assert from_labels({key: "maybe"} | ANNOUNCE, {}).enable is False
    assert from_labels({key: "false"} | ANNOUNCE, {}).enable is True


def test_a_misspelled_switch_opts_out_even_beside_one_that_opts_in() -> None:
    for key in ("koi.Enable", "koi.enabled"):
        assert from_labels({"koi.enable": "true", key: "false"}, {}).enable is False


@pytest.mark.parametrize("key", ["koi.table", "koi.tables", "koi.name", "koi.entry", "koi.x" * 90])
def test_another_key_is_no_switch(key: str) -> None:
    assert from_labels({key: "5"} | ANNOUNCE, {}).enable is True


CAPABILITIES = {
    "mdns": "mdns_enable",
    "dns": "dns_enable",
    "health": "health_enable",
    "proxy": "proxy_enable",
}


@pytest.mark.parametrize(("capability", "field"), CAPABILITIES.items())
def test_one_capability_is_opted_out_of_and_never_fails_open(capability: str, field: str) -> None:
    label = f"koi.{capability}.enable"
    for value in ("false", "FALSE", *UNREADABLE):
        metadata = from_labels({label: value} | ANNOUNCE, {})
        assert (metadata.enable, getattr(metadata, field)) == (True, False)
    for key in (label.upper(), f"{label}d", label.replace("enable", "Enable"), label[:-1]):
        assert getattr(from_labels({key: "false"} | ANNOUNCE, {}), field) is False
    disable = label.replace("enable", "disabled")
    assert getattr(from_labels({disable: "true"} | ANNOUNCE, {}), field) is False
    assert from_labels({label: "true"}, {}).enable is None
    unit = [("X-Koi", "Announce", "web"), ("X-Koi", f"{capability.capitalize()}Enable", "maybe")]
    metadata = from_unit_keys(unit, {})
    assert (metadata.enable, getattr(metadata, field)) == (True, False)
    for one, other in ((True, False), (False, True), (None, False)):
        both = [KoiMetadata(**{field: value}) for value in (one, other)]  # type: ignore[arg-type]
        assert getattr(merge(*both), field) is False


@pytest.mark.parametrize(("capability", "field"), CAPABILITIES.items())
def test_the_name_of_a_capability_alone_opts_out_if_it_says_no(capability: str, field: str) -> None:
    for key in (f"koi.{capability}", f"koi.{capability.upper()}"):
        for value in ("false", "no", "Off", " 0"):
            metadata = from_labels({key: value} | ANNOUNCE, {})
            assert (metadata.enable, getattr(metadata, field)) == (True, False)
            assert has_reason(metadata, key)
        for value in ("true", "web", "/health", ""):
            assert getattr(from_labels({key: value} | ANNOUNCE, {}), field) is None
    unit = [("X-Koi", "Announce", "web"), ("X-Koi", capability.capitalize(), "off")]
    assert getattr(from_unit_keys(unit, {}), field) is False


@pytest.mark.parametrize(("capability", "field"), CAPABILITIES.items())
def test_a_switch_of_a_capability_opts_out_however_its_words_are_ordered(
    capability: str, field: str
) -> None:
    for rest in ("_enable", "/enable", ":enabled", " enable"):
        metadata = from_labels({f"koi.{capability}{rest}": "false"} | ANNOUNCE, {})
        assert getattr(metadata, field) is False
        assert getattr(from_labels({f"koi.{capability}{rest}": "true"}, {}), field) is None
    for before in ("enable.", "enable-", "Enabled_"):
        metadata = from_labels({f"koi.{before}{capability}": "false"} | ANNOUNCE, {})
        assert getattr(metadata, field) is False
    for before in ("disable.", "disable-", "disable"):
        metadata = from_labels({f"koi.{before}{capability}": "true"} | ANNOUNCE, {})
        assert (metadata.enable, getattr(metadata, field)) == (True, False)
    unit = [("X-Koi", "Announce", "web"), ("X-Koi", f"Disable{capability.capitalize()}", "yes")]
    assert getattr(from_unit_keys(unit, {}), field) is False
    assert getattr(from_labels({f"koi.txt.{capability}": "false"} | ANNOUNCE, {}), field) is None


@pytest.mark.parametrize(("capability", "field"), CAPABILITIES.items())
@pytest.mark.parametrize("value", [None, False, 0, {}, []])
def test_a_switch_whose_value_is_not_text_opts_out(
    capability: str, field: str, value: object
) -> None:
    for label in (f"koi.{capability}.enable", f"KOI.{capability}.Enabled"):
        parsed = parse_labels({label: value, "koi.announce": "web"}, (), KINDS["docker"])
        if label.startswith("koi."):
            assert getattr(parsed.metadata, field) is False


@pytest.mark.parametrize(("capability", "field"), CAPABILITIES.items())
def test_an_image_may_opt_out_of_one_capability(capability: str, field: str) -> None:
    for switch in ({f"koi.{capability}.enable": "false"}, {f"koi.{capability}.disable": "true"}):
        labels = {"koi.announce": "web", **switch}
        parsed = own_labels({"Config": {"Labels": labels}}, KINDS["docker"], Image(metadata=switch))
        assert (parsed.metadata.enable, getattr(parsed.metadata, field)) == (True, False)


def test_opting_out_of_one_capability_leaves_the_other() -> None:
    instance = replace(made(), metadata=KoiMetadata(enable=True, health_path="/"))
    all_rules: Mapping[str, Rules] = {
        "mdns_enable": MdnsRules(POLICY),
        "dns_enable": DnsRules(POLICY, Domains(main="internal")),
        "health_enable": HealthRules(POLICY),
    }
    for without, rules in all_rules.items():
        metadata = replace(instance.metadata, **{without: False})  # type: ignore[arg-type]
        opted_out = replace(instance, metadata=metadata)
        assert rules.requests(instance).requests
        assert not rules.requests(opted_out).requests
        for name, other in all_rules.items():
            assert bool(other.requests(opted_out).requests) is (name != without)


@pytest.mark.parametrize("last", ["enable", "Enable", "enabled", "disable", "announce", "mdns"])
def test_keys_that_are_not_read_may_opt_out(last: str) -> None:
    many = {f"koi.0{number}": "x" for number in range(MOST_KEYS)} | {f"koi.{last}": "no"}
    metadata = from_labels(many | RULE, {"KOI_MDNS_ANNOUNCE": "web"})
    assert metadata.enable is False
    assert has_reason(metadata, "koi.*")
    annotations = {key.replace("koi.", "koi.sylin.org/"): text for key, text in many.items()}
    assert from_annotations(annotations).enable is False
    config = {f"user.{key}": text for key, text in many.items()}
    assert from_config_keys(config | {"environment.KOI_MDNS_ANNOUNCE": "web"}).enable is False
    lines = [("X-Koi", f"Unknown{number}", "x") for number in range(2 * MOST_KEYS)]
    metadata = from_unit_keys([("X-Koi", "Announce", "web"), *lines, ("X-Koi", "Enable", "no")], {})
    assert metadata.enable is False


@pytest.mark.parametrize("value", ["maybe", "nope", "2", "%H"])
def test_a_switch_in_a_unit_file_that_cannot_be_read_opts_out(value: str) -> None:
    for section, key in (("Unit", "X-Koi-Enable"), ("X-Koi", "Enable"), ("Unit", "X-KOI-Enable")):
        lines = [("X-Koi", "Announce", "web"), ("X-Koi", "Enable", "yes"), (section, key, value)]
        assert from_unit_keys(lines, {"KOI_MDNS_ANNOUNCE": "web"}).enable is False


def test_a_later_switch_in_a_unit_file_overrides_one_that_cannot_be_read() -> None:
    lines = [("X-Koi", "Enable", "maybe"), ("X-Koi", "Enable", "yes")]
    assert from_unit_keys(lines, {}).enable is True


RUNTIMES = [("user.koi.", from_config_keys), ("koi.sylin.org/", from_annotations)]


@pytest.mark.parametrize(("prefix", "read"), RUNTIMES)
@pytest.mark.parametrize("value", ["jein", "f", "", " ", "no\0", "2", False, None, 0, {}, []])
def test_switches_of_other_runtimes_opt_out_too(
    prefix: str, read: Callable[[Mapping[str, object]], KoiMetadata], value: object
) -> None:
    announce = {f"{prefix}announce": "web"}
    for key in ("enable", "Enable", "ENABLED", "enable ", "disabled"):
        for spelled in (prefix, prefix.upper()):
            assert read(announce | {f"{spelled}{key}": value}).enable is False, (spelled, key)
    for capability, field in CAPABILITIES.items():
        for word in ("enable", "Disable"):
            for key in (f"{capability}-{word}", f"{word}.{capability}"):
                metadata = read(announce | {f"{prefix}{key}": value})
                assert (metadata.enable, getattr(metadata, field)) == (True, False), key
    if not isinstance(value, str):
        assert read({f"{prefix}announce": value}).enable is None
        assert read({"environment.KOI_MDNS_ANNOUNCE": value}).enable is None


@pytest.mark.parametrize("word", ["false", "False", "no", "NO", "off", "0"])
def test_a_refusal_in_place_of_a_name_opts_out(word: str) -> None:
    for metadata, key in (
        (from_labels({"koi.announce": word} | RULE, {}), "koi.announce"),
        (from_labels(RULE, {"KOI_MDNS_ANNOUNCE": word}), "KOI_MDNS_ANNOUNCE"),
        (from_unit_keys([("Unit", "X-Koi-Announce", word)], {}), "X-Koi-Announce"),
    ):
        assert (metadata.enable, metadata.name) == (False, None)
        assert has_reason(metadata, key)


@pytest.mark.parametrize("key", ["traefik.enable", "Traefik.Enable", "TRAEFIK.ENABLE"])
@pytest.mark.parametrize(
    "value", ["0", "f", "F", "FALSE", "false", "False", "no", "off", "fALSE", "", " true", "tRUE"]
)
def test_traefiks_switch_disables_its_labels_unless_go_reads_it_as_true(
    key: str, value: str
) -> None:
    assert is_used_label(key)
    assert from_labels(RULE | {key: value}, {}).enable is None
    assert from_labels(RULE | {key: value} | ANNOUNCE, {}).enable is True


@pytest.mark.parametrize("value", ["no", "off", "", "tRUE", " true", "enabled"])
def test_a_switch_of_traefik_that_cannot_be_read_has_a_reason(value: str) -> None:
    assert has_reason(from_labels(RULE | {"traefik.enable": value}, {}), "traefik.enable")


@pytest.mark.parametrize("value", ["1", "t", "T", "TRUE", "true", "True"])
def test_traefiks_labels_count_if_go_reads_its_switch_as_true(value: str) -> None:
    assert from_labels(RULE | {"traefik.Enable": value}, {}).dns_name == "a.lan"


def test_one_of_two_spellings_of_traefiks_switch_disables() -> None:
    assert from_labels(RULE | {"traefik.enable": "true", "Traefik.Enable": "0"}, {}).enable is None


def test_labels_of_traefik_have_no_case() -> None:
    labels = {
        "Traefik.HTTP.Routers.web.Rule": "Host(`a.lan`)",
        "TRAEFIK.http.services.web.LOADBALANCER.server.PORT": "81",
    }
    assert all(map(is_used_label, labels))
    metadata = from_labels(labels, {})
    assert (metadata.dns_name, metadata.port) == ("a.lan", 81)
