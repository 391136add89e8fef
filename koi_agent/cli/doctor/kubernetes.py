"""Check of the access to a cluster of Kubernetes on this host."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from koi_agent.cli.doctor.findings import CREDENTIALS, Case, Finding, ok, warning
from koi_agent.config import Flags, load
from koi_agent.host.kubernetes import CREDENTIAL, DISTRIBUTIONS, Distribution

BACKEND: Final = "kubernetes"
KUBECONFIG: Final = "/etc/koi-runtime/kubeconfig"
EXAMPLE: Final = "/usr/share/doc/koi-runtime/examples/kubernetes.yaml"


async def kubernetes(case: Case) -> Sequence[Finding]:
    """Check that the agent has credentials if this host is a node; otherwise return nothing."""
    config = load(Flags(scope=case.scope), case.environment).config
    if BACKEND not in config.backends:
        return []
    if file := config.kubernetes.kubeconfig:
        return [ok(f"[Kubernetes] Kubeconfig={file} is configured")]
    if case.scope == "user":
        return []
    folder = case.environment.get("CREDENTIALS_DIRECTORY", CREDENTIALS)
    if _exists(f"{folder}/{CREDENTIAL}"):
        return [ok(f"the agent has the credential {CREDENTIAL}")]
    return [_missing(one) for one in _found(case.host.root)]


def _found(root: Path) -> Iterator[Distribution]:
    for one in DISTRIBUTIONS:
        if _exists(f"{root}{one.kubeconfig}"):
            yield one


def _exists(path: str) -> bool:
    """Return True if a file exists, False if not or if that may not be seen."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises an error


def _missing(found: Distribution) -> Finding:
    text = f"{found.name}: its pods are not followed: the agent has no credentials"
    advice = (
        f"{found.kubectl} apply -f {EXAMPLE}; write its token into {KUBECONFIG};"
        f" add LoadCredential={CREDENTIAL}:{KUBECONFIG} to [Service] of a drop-in"
    )
    return warning(text, advice)
