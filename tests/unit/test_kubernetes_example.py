"""The example for Kubernetes: what kustomize applies, and the kubeconfig file that it gives."""

import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from koi_agent.backends.kubernetes import rights
from koi_agent.backends.kubernetes.kubeconfig import read_kubeconfig
from koi_agent.backends.kubernetes.rights import ALL, Right
from koi_agent.cli.doctor.kubernetes import EXAMPLE
from koi_agent.host.kubernetes import DISTRIBUTIONS
from tests.unit.certificates import authority

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "packaging/examples/kubernetes"
TEMPLATE = FOLDER / "kubeconfig.template"
KUSTOMIZATION = "kustomization.yaml"


def document(name: str) -> Any:
    """Return the only document of a file."""
    (found,) = yaml.safe_load_all((FOLDER / name).read_text())
    return found


def objects() -> dict[str, Any]:
    """Return what kustomize applies, by kind."""
    found = [document(name) for name in document(KUSTOMIZATION)["resources"]]
    return {one["kind"]: one for one in found}


def test_kustomize_applies_all_files() -> None:
    kustomization = document(KUSTOMIZATION)
    assert kustomization["kind"] == "Kustomization"
    files = {path.name for path in FOLDER.glob("*.yaml")} - {KUSTOMIZATION}
    assert sorted(kustomization["resources"]) == sorted(files)
    assert objects().keys() == {*("ServiceAccount", "Secret", "ClusterRole", "ClusterRoleBinding")}


def test_the_role_grants_what_the_code_requests_and_no_more() -> None:
    assert set(ALL) == {one for one in vars(rights).values() if isinstance(one, Right)}
    granted = [
        (group, resource, verb, name)
        for rule in objects()["ClusterRole"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    ]
    used = [(one.group, one.resource, verb, one.name) for one in ALL for verb in one.verbs]
    assert sorted(granted) == sorted(used)


def test_the_role_is_bound_to_the_account_of_the_token() -> None:
    found = objects()
    account, secret = found["ServiceAccount"]["metadata"], found["Secret"]
    binding = found["ClusterRoleBinding"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", **account}]
    assert binding["roleRef"]["kind"] == "ClusterRole"
    assert binding["roleRef"]["name"] == found["ClusterRole"]["metadata"]["name"]
    assert secret["type"] == "kubernetes.io/service-account-token"
    assert secret["metadata"]["namespace"] == account["namespace"]
    annotations = secret["metadata"]["annotations"]
    assert annotations == {"kubernetes.io/service-account.name": account["name"]}


def test_the_template_makes_a_kubeconfig_file_of_the_secret(tmp_path: Path) -> None:
    authority(tmp_path, "127.0.0.1")
    certificate = (tmp_path / "certificate.pem").read_text()
    text = TEMPLATE.read_text()
    for expression, value in (
        (r"{{- /\*.*?\*/ -}}\n", ""),
        (r'{{index \.data "ca\.crt"}}', b64encode(certificate.encode()).decode()),
        (r"{{base64decode \.data\.token}}", "a-token"),
    ):
        text, count = re.subn(expression, value, text, flags=re.DOTALL)
        assert count == 1, expression
    assert "{{" not in text
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    access = read_kubeconfig(str(path), "")
    assert (access.server, access.authority) == ("https://127.0.0.1:6443", certificate)
    assert access.headers() == {"Authorization": "Bearer a-token"}
    assert {one.server for one in DISTRIBUTIONS} >= {access.server}


def test_the_example_is_installed_where_the_doctor_names_it() -> None:
    lines = (CHECKOUT / "packaging/install.list").read_text().splitlines()
    installed = dict(line.split()[1:] for line in lines if "/examples/" in line)
    assert installed == {
        str(path.relative_to(CHECKOUT)): f"@PREFIX@/share/doc/{EXAMPLE}/{path.name}"
        for path in FOLDER.iterdir()
    }
