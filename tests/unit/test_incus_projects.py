"""Projects of unprivileged users: what runs there is followed, and requests no names."""

from typing import Any

import pytest

from koi_agent.backends.incus.forwards import Forwards
from koi_agent.backends.incus.guests import Place, parse_guest
from koi_agent.backends.incus.projects import Projects
from koi_agent.core.instance import Instance, KoiMetadata

WANTED = {
    "user.koi.announce": "wpad",
    "user.koi.dns.name": "grafana",
    "user.koi.proxy.port": "443",
    "user.koi.port": "80",
    "environment.KOI_MDNS_ANNOUNCE": "shop",
}


def instance(project: str, config: dict[str, str], *patterns: str) -> Instance:
    record: dict[str, Any] = {
        "name": "web",
        "project": project,
        "status": "Running",
        "type": "container",
        "expanded_config": config,
        "state": {"pid": 7},
    }
    projects = Projects(patterns) if patterns else Projects()
    place = Place(backend="incus", member="", forwards=Forwards(), projects=projects)
    return parse_guest(record, place).instance


@pytest.mark.parametrize("config", [WANTED, *({key: text} for key, text in WANTED.items())])
def test_metadata_in_the_project_of_a_user_does_not_count(config: dict[str, str]) -> None:
    for patterns in ((), ("*",), ("default", "*")):
        found = instance("user-1000", config, *patterns)
        (refused,) = found.metadata.refused
        assert refused.key == "user.koi.*"
        assert "name it in Projects=" in refused.reason
        assert found.metadata == KoiMetadata(refused=found.metadata.refused)
        assert found.ports == ()


@pytest.mark.parametrize("patterns", [("user-*",), ("*", "user-1000"), ("u*",)])
def test_metadata_counts_if_the_administrator_names_the_project(patterns: tuple[str, ...]) -> None:
    assert instance("user-1000", WANTED, *patterns).metadata.enable is True


@pytest.mark.parametrize("project", ["default", "user-", "user-web", "users", "my-user-1000"])
def test_other_projects_are_the_administrators(project: str) -> None:
    found = instance(project, WANTED)
    assert (found.metadata.name, found.metadata.dns_name) == ("wpad", "grafana")


def test_opting_out_counts_in_every_project() -> None:
    for project in ("default", "user-1000"):
        found = instance(project, WANTED | {"user.koi.enable": "no"})
        assert found.metadata.enable is False
    assert instance("user-1000", {"image.os": "busybox"}).metadata == KoiMetadata()
