"""Service accounts of a real cluster, and their tokens."""

import base64
import json
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from koi_agent.backends.kubernetes.credentials import Credentials
from tests.kubernetes.calls import path
from tests.kubernetes.cluster import ISSUER, Cluster
from tests.namespaces import CHECKOUT

EXAMPLE: Final = CHECKOUT / "packaging/examples/kubernetes"
LEEWAY: Final = 60
"""Seconds for which the server accepts a token after its end."""
KINDS: Final = {
    "ServiceAccount": "serviceaccounts",
    "Secret": "secrets",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
}


def example() -> list[dict[str, Any]]:
    """Return the records of the example that is shipped, as kustomize does."""
    listed = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text())["resources"]
    return [yaml.safe_load((EXAMPLE / name).read_text()) for name in listed]


def rules() -> list[dict[str, Any]]:
    """Return the rights of the example."""
    (role,) = (one for one in example() if one["kind"] == "ClusterRole")
    found: list[dict[str, Any]] = role["rules"]
    return found


def apply(cluster: Cluster, records: Iterable[Mapping[str, Any]]) -> None:
    """Create objects of any kind."""
    for one in records:
        namespace = one["metadata"].get("namespace", "")
        cluster.calls.create(KINDS[one["kind"]], one, namespace)


class Account:
    """A service account with rights of its own, and the folder that a pod would have of it."""

    def __init__(
        self, cluster: Cluster, name: str, allowed: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        self.cluster = cluster
        self.name = name
        self.folder = cluster.folder / f"account-{name}"
        self.folder.mkdir()
        (self.folder / "ca.crt").write_bytes((cluster.folder / "certificate.pem").read_bytes())
        record = {"metadata": {"name": name, "namespace": "default"}}
        self.uid = cluster.calls.create("serviceaccounts", record, "default")["metadata"]["uid"]
        role: dict[str, Any] = {"metadata": {"name": name}, "rules": list(allowed)}
        cluster.calls.create("clusterroles", role)
        group = "rbac.authorization.k8s.io"
        subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [subject],
        }
        cluster.calls.create("clusterrolebindings", binding)

    def permit(self, allowed: Iterable[Mapping[str, Any]]) -> None:
        """Replace the rights."""
        self.cluster.calls.patch("clusterroles", "", self.name, {"rules": list(allowed)})

    def write_token(self, token: str) -> None:
        """Write a token into the file, as a kubelet does."""
        self.cluster.secrets.add(token)
        following = self.folder / "following"
        following.write_text(token)
        following.rename(self.folder / "token")

    def requested(self) -> str:
        """Return a token for an hour, which the server makes."""
        target = path("serviceaccounts", "default", self.name, "token")
        made = self.cluster.calls.call("POST", target, {"spec": {"expirationSeconds": 3600}})
        return str(made["status"]["token"])

    def signed(self, seconds: int) -> str:
        """Return a token for a shorter time than the server makes any."""
        now = int(time.time()) - LEEWAY
        account = {"name": self.name, "uid": self.uid}
        claims = {
            "iss": ISSUER,
            "aud": [ISSUER],
            "sub": f"system:serviceaccount:default:{self.name}",
            "iat": now,
            "exp": now + seconds,
            "kubernetes.io": {"namespace": "default", "serviceaccount": account},
        }
        text = f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part(claims)}"
        return f"{text}.{_encoded(_signature(self.cluster.folder / 'accounts.key', text))}"

    def credentials(self) -> Credentials:
        """Return what an agent in a pod of this account finds."""
        server = f"https://127.0.0.1:{self.cluster.port}"
        return Credentials(server=server, account=str(self.folder))


def _part(value: Mapping[str, Any]) -> str:
    return _encoded(json.dumps(value).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _signature(key: Path, text: str) -> bytes:
    """Return the signature of RS256."""
    command = ["openssl", "dgst", "-sha256", "-sign", str(key)]
    return subprocess.run(command, input=text.encode(), check=True, capture_output=True).stdout
