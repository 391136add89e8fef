"""The doctor's check of the access to a cluster."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from koi_agent.cli.doctor.findings import Case, Finding, Host
from koi_agent.cli.doctor.kubernetes import FOLDER, is_hidden, kubernetes
from koi_agent.host.kubernetes import DISTRIBUTIONS, Distribution


def case(folder: Path, scope: str = "system", **environment: str) -> Case:
    variables = {"CREDENTIALS_DIRECTORY": str(folder / "none"), **environment}
    return Case(scope=scope, environment=variables, host=Host(root=folder))


def install(folder: Path, distribution: Distribution) -> None:
    path = Path(f"{folder}{distribution.kubeconfig}")
    path.parent.mkdir(parents=True)
    path.touch()


async def test_host_without_a_cluster_has_no_finding(tmp_path: Path) -> None:
    assert not await kubernetes(case(tmp_path))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda one: one.name)
async def test_node_without_credentials_gets_the_steps(
    tmp_path: Path, distribution: Distribution
) -> None:
    install(tmp_path, distribution)
    (found,) = await kubernetes(case(tmp_path))
    assert found.verdict == "warn"
    assert found.text.startswith(f"{distribution.name}: its pods are not followed")
    assert f"run {distribution.kubectl} apply -k {FOLDER}, a ClusterRole for" in found.advice
    assert "list, watch pods, services, endpointslices; get nodes" in found.advice
    assert "LoadCredential=kubernetes.kubeconfig:/etc/koi-runtime/kubeconfig" in found.advice
    assert f"{distribution.kubeconfig} in its place has all rights" in found.advice
    assert not await kubernetes(case(tmp_path, "user"))
    assert not await kubernetes(case(tmp_path, KOI_RUNTIME="systemd"))


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("k3s", "kubeconfig.template >/etc/koi-runtime/kubeconfig);"),
        ("MicroK8s", "| sed s,https://127.0.0.1:6443,https://127.0.0.1:16443, >/etc"),
        ("kubeadm", "; change server: in it to that of /etc/kubernetes/admin.conf; "),
    ],
)
async def test_the_address_of_the_server_is_that_of_the_distribution(
    tmp_path: Path, name: str, step: str
) -> None:
    install(tmp_path, next(one for one in DISTRIBUTIONS if one.name == name))
    (found,) = await kubernetes(case(tmp_path))
    assert step in found.advice


# A kubeconfig file


def kubeconfig(folder: Path, **user: Any) -> Path:
    """Write the file that the agent has as a credential."""
    config = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://192.0.2.1:6443"}}],
        "users": [{"name": "u", "user": user}],
    }
    path = folder / "kubernetes.kubeconfig"
    path.write_text(json.dumps(config))
    return path


def plugin(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", **fields}


async def examined(folder: Path, scope: str = "user", **environment: str) -> Finding:
    """Return what is found of the credential; a user may check that of an agent of its own."""
    path = folder / "kubernetes.kubeconfig"
    text = f"[Kubernetes]\nKubeconfig={path}\n"
    place = folder / "config/koi-runtime/koi-runtime.conf.d/10-local.conf"
    place.parent.mkdir(parents=True)
    place.write_text(text)
    home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config")}
    (found,) = await kubernetes(case(folder, scope, **home, **environment))
    return found


async def test_credential_of_the_service_is_enough(tmp_path: Path) -> None:
    install(tmp_path, DISTRIBUTIONS[0])
    kubeconfig(tmp_path, token="secret")
    (found,) = await kubernetes(case(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path)))
    assert found.verdict == "ok"
    assert found.text.startswith("the agent has the credential kubernetes.kubeconfig")


async def test_a_file_that_can_not_be_used_is_a_warning(tmp_path: Path) -> None:
    kubeconfig(tmp_path, username="me", password="secret")
    found = await examined(tmp_path)
    assert found.verdict == "warn"
    assert "user 'u': username is not supported" in found.text
    assert f"use the token of a service account: see {FOLDER}/" in found.advice


async def test_a_plugin_that_is_installed_is_named(tmp_path: Path) -> None:
    kubeconfig(tmp_path, exec=plugin(command="sh"))
    found = await examined(tmp_path, PATH=os.defpath)
    assert (found.verdict, "; the plugin /bin/sh runs as" in found.text) == ("ok", True)


async def test_a_plugin_that_is_missing_leads_to_the_token(tmp_path: Path) -> None:
    kubeconfig(tmp_path, exec=plugin(command="koi-no-such-plugin", installHint="see there"))
    found = await examined(tmp_path, PATH=os.defpath)
    assert found.verdict == "warn"
    assert "the plugin 'koi-no-such-plugin': no program" in found.text
    assert "install it: see there" in found.text
    assert "or use the token of a service account" in found.advice


async def test_a_plugin_for_a_terminal_leads_to_the_token(tmp_path: Path) -> None:
    kubeconfig(tmp_path, exec={**plugin(command="sh"), "interactiveMode": "Always"})
    found = await examined(tmp_path)
    assert "needs a terminal" in found.text
    assert "use the token of a service account" in found.advice


def test_a_program_in_a_home_directory_is_hidden_from_the_service(tmp_path: Path) -> None:
    link = tmp_path / "plugin"
    link.symlink_to("/root/plugin")
    assert is_hidden(str(link))
    assert is_hidden("/home/me/bin/plugin")
    assert not is_hidden("/usr/bin/plugin")
