"""The doctor's check of the access to a cluster."""

from pathlib import Path

import pytest

from koi_agent.cli.doctor.findings import Case, Host
from koi_agent.cli.doctor.kubernetes import kubernetes
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
    assert found.advice.startswith(f"{distribution.kubectl} apply -f ")
    assert "LoadCredential=kubernetes.kubeconfig:/etc/koi-runtime/kubeconfig" in found.advice
    assert not await kubernetes(case(tmp_path, "user"))
    assert not await kubernetes(case(tmp_path, KOI_RUNTIME="systemd"))


async def test_credential_of_the_service_is_enough(tmp_path: Path) -> None:
    install(tmp_path, DISTRIBUTIONS[0])
    (tmp_path / "kubernetes.kubeconfig").touch()
    (found,) = await kubernetes(case(tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path)))
    assert (found.verdict, found.text) == (
        "ok",
        "the agent has the credential kubernetes.kubeconfig",
    )
