"""Check of the access to a cluster of Kubernetes on this host."""

import asyncio
import os
import pwd
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from koi_agent.cli.doctor.findings import CREDENTIALS, Case, Finding, ok, warning
from koi_agent.config import Flags, load
from koi_agent.core.errors import BackendLost, BadInput
from koi_agent.host.kubernetes import CREDENTIAL, DISTRIBUTIONS, Distribution

BACKEND: Final = "kubernetes"
KUBECONFIG: Final = "/etc/koi-runtime/kubeconfig"
EXAMPLE: Final = "koi-runtime/examples/kubernetes"
"""The folder of the example, below that of documents."""
FOLDER: Final = f"/usr/share/doc/{EXAMPLE}"
_TEMPLATE: Final = f"{FOLDER}/kubeconfig.template"
_SERVER: Final = "https://127.0.0.1:6443"
"""The address in the template."""
_USER: Final = "_koi-runtime"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
"""Where programs of a service are looked up (systemd.exec(5))."""
_HIDDEN: Final = ("/home/", "/root/", "/run/user/")
"""Folders that ProtectHome= hides from the service."""


async def kubernetes(case: Case) -> Sequence[Finding]:
    """Check that the agent has credentials if this host is a node; otherwise return nothing."""
    config = load(Flags(scope=case.scope), case.environment).config
    if BACKEND not in config.backends:
        return []
    context = config.kubernetes.context
    if file := config.kubernetes.kubeconfig:
        subject = f"[Kubernetes] Kubeconfig={file} is configured"
        return await _examined(case, file, context, subject)
    if case.scope == "user":
        return []
    folder = case.environment.get("CREDENTIALS_DIRECTORY", CREDENTIALS)
    if _exists(f"{folder}/{CREDENTIAL}"):
        subject = f"the agent has the credential {CREDENTIAL}"
        return await _examined(case, f"{folder}/{CREDENTIAL}", context, subject)
    return [_missing(one) for one in _found(case.host.root)]


def _found(root: Path) -> Iterator[Distribution]:
    for one in DISTRIBUTIONS:
        if _exists(f"{root}{one.kubeconfig}"):
            yield one


def _exists(path: str) -> bool:
    """Return True if a file exists, False if not or if that may not be seen."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises an error


def _missing(found: Distribution) -> Finding:
    """Return the commands that give the agent a user of its own, with a role that only reads."""
    from koi_agent.backends.kubernetes.rights import summary  # noqa: PLC0415 - few hosts are nodes

    text = f"{found.name}: its pods are not followed: the agent has no credentials"
    address = f" | sed s,{_SERVER},{found.server}," if found.server not in (_SERVER, "") else ""
    change = "" if found.server else f"; change server: in it to that of {found.kubeconfig}"
    output = f"-o go-template-file={_TEMPLATE}{address} >{KUBECONFIG}"
    secret = f"{found.kubectl} -n kube-system get secret koi-runtime"
    advice = (
        f"run {found.kubectl} apply -k {FOLDER}, a ClusterRole for {summary()};"
        f" run mkdir -p /etc/koi-runtime; (umask 077; {secret} {output})"
        f"{change}; add LoadCredential={CREDENTIAL}:{KUBECONFIG} to [Service] of a drop-in;"
        f" {found.kubeconfig} in its place has all rights"
    )
    return warning(text, advice)


# A kubeconfig file


async def _examined(case: Case, file: str, context: str, subject: str) -> Sequence[Finding]:
    """Check that a kubeconfig file can be used, if this user may read it as the agent does."""
    if case.scope == "system" and os.geteuid():
        return [ok(f"{subject}; run this as root to check it")]
    # ssl and PyYAML take long to load, and few hosts have a kubeconfig file.
    from koi_agent.backends.kubernetes.kubeconfig import read_kubeconfig  # noqa: PLC0415

    try:
        access = await asyncio.to_thread(read_kubeconfig, file, context, _user(case.scope))
    except BackendLost as lost:
        return [warning(str(lost), f"{_role()}, or correct the file")]
    if access.plugin is None:
        return [ok(subject)]
    from koi_agent.backends.kubernetes.authenticator import find_program  # noqa: PLC0415

    is_system = case.scope == "system"
    path = _PATH if is_system else case.environment.get("PATH", os.defpath)
    path = dict(access.plugin.variables).get("PATH", path)
    name = f"{file}: the plugin {access.plugin.name}"
    try:
        program = find_program(access.plugin, path)
    except BadInput as bad:
        return [warning(f"{name}: {bad}", f"or {_role()}")]
    if is_system and is_hidden(program):
        return [warning(f"{name}: the service can't see {program}", f"move it, or {_role()}")]
    text = f"{subject}; the plugin {program} runs as the agent's user, without a terminal"
    return [ok(f"{text} and a home directory" if is_system else text)]


def _user(scope: str) -> int:
    """Return the UID of the agent, which systemd before 254 makes the owner of credentials."""
    if scope != "system":
        return os.geteuid()
    try:
        return pwd.getpwnam(_USER).pw_uid
    except KeyError:
        return 0


def is_hidden(program: str) -> bool:
    """Return True if the sandbox of the service does not show a program."""
    return os.path.realpath(program).startswith(_HIDDEN)


def _role() -> str:
    return f"use the token of a service account: see {FOLDER}/kustomization.yaml"
