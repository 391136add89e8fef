"""The plugin that a kubeconfig file names for the credentials of a user, and its response.

The protocol is the API client.authentication.k8s.io: a program gets an ``ExecCredential`` in a
variable, and writes one with a token or a client certificate.
"""

import json
import os
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Any, Final

from koi_agent.backends.http_engine.json_fields import (
    JSONObject,
    get_object,
    get_objects,
    get_str,
    get_time,
)
from koi_agent.backends.kubernetes.pem import is_token, pem_blocks
from koi_agent.core.errors import BadInput
from koi_agent.core.frozen import frozen
from koi_agent.core.metadata.names import shown
from koi_agent.core.text import printable

TOKEN_WAY: Final = "use the token of a service account"  # noqa: S105 - an advice
INFORMATION: Final = "KUBERNETES_EXEC_INFO"
_GROUP: Final = "client.authentication.k8s.io/"
_VERSIONS: Final = (f"{_GROUP}v1", f"{_GROUP}v1beta1")
_KIND: Final = "ExecCredential"
_MODES: Final = ("Never", "IfAvailable", "Always")
_CONFIG: Final = "client.authentication.k8s.io/exec"
"""The extension of a cluster that is for its plugin."""
_CLUSTER_TEXTS: Final = ("server", "tls-server-name", "proxy-url")
_MAX_ARGUMENTS: Final = 64
_MAX_HINT: Final = 300


@frozen(kw_only=True)
class Plugin:
    """A program that gives credentials.

    ``command`` is its path, or a name that is looked up in $PATH. ``information`` is the value of
    the variable that it gets, ``hint`` how it is installed, for a person.
    """

    command: str
    arguments: tuple[str, ...] = field(default=(), repr=False)
    variables: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    version: str = _VERSIONS[0]
    information: str = field(default="", repr=False)
    hint: str = ""

    @property
    def name(self) -> str:
        """The name of the program, for a person."""
        return shown(os.path.basename(self.command))  # noqa: PTH119 - plain text


@frozen(kw_only=True)
class Credential:
    """The response of a plugin; ``expires_at`` is in seconds since the epoch, 0 for never."""

    token: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    certificate_key: str = field(default="", repr=False)
    expires_at: int = 0

    @property
    def is_valid(self) -> bool:
        """False after the time at which it expires."""
        return not self.expires_at or time.time() < self.expires_at


def parse_plugin(user: JSONObject, cluster: JSONObject, authority: str, folder: Path) -> Plugin:
    """Parse the field ``exec`` of a user; raise ``BadInput``.

    ``authority`` has the certificates of the cluster. A relative path begins at ``folder``.
    """
    record = get_object(user, "exec")
    command, version = get_str(record, "command"), get_str(record, "apiVersion")
    if not command or not command.isprintable():
        raise BadInput("exec: command: not a program")
    if version not in _VERSIONS:
        raise BadInput(f"exec: apiVersion: {shown(version)} is not {' or '.join(_VERSIONS)}")
    mode = get_str(record, "interactiveMode") or "IfAvailable"
    if mode not in _MODES:
        raise BadInput(f"exec: interactiveMode: {shown(mode)} is not one of {', '.join(_MODES)}")
    plugin = Plugin(
        command=str(folder / command) if "/" in command else command,
        arguments=tuple(_arguments(record)),
        variables=tuple(_variables(record)),
        version=version,
        information=_information(version, _given(record, cluster, authority)),
        hint=printable(get_str(record, "installHint"), _MAX_HINT),
    )
    if mode == "Always":
        reason = "needs a terminal, which the agent does not have"
        raise BadInput(f"the plugin {plugin.name} {reason}; {TOKEN_WAY}")
    return plugin


def _arguments(record: JSONObject) -> Iterator[str]:
    arguments = record.get("args") or []
    if not isinstance(arguments, list) or len(arguments) > _MAX_ARGUMENTS:
        raise BadInput(f"exec: args: not a list of at most {_MAX_ARGUMENTS} texts")
    for one in arguments:
        if not isinstance(one, str) or not _can_be_passed(one):
            raise BadInput("exec: args: not a text")
        yield one


def _variables(record: JSONObject) -> Iterator[tuple[str, str]]:
    for one in get_objects(record, "env"):
        name, value = get_str(one, "name"), get_str(one, "value")
        if not name or "=" in name or not _can_be_passed(name) or not _can_be_passed(value):
            raise BadInput("exec: env: not a variable")
        yield name, value


def _can_be_passed(text: str) -> bool:
    """Return True for a text that a program can get."""
    try:
        return b"\0" not in text.encode()
    except UnicodeError:
        return False


def _given(record: JSONObject, cluster: JSONObject, authority: str) -> JSONObject | None:
    """Return what a plugin gets to know of the cluster, None if it does not ask for that."""
    if record.get("provideClusterInfo") is not True:
        return None
    found: dict[str, Any] = {
        name: text for name in _CLUSTER_TEXTS if (text := get_str(cluster, name))
    }
    if authority:
        found["certificate-authority-data"] = b64encode(authority.encode()).decode()
    if cluster.get("insecure-skip-tls-verify") is True:
        found["insecure-skip-tls-verify"] = True
    for extension in get_objects(cluster, "extensions"):
        if get_str(extension, "name") == _CONFIG:
            found["config"] = extension.get("extension")
    return found


def _information(version: str, cluster: JSONObject | None) -> str:
    spec = {"interactive": False, **({"cluster": cluster} if cluster is not None else {})}
    try:
        return json.dumps({"apiVersion": version, "kind": _KIND, "spec": spec})
    except (TypeError, ValueError, RecursionError):
        raise BadInput(f"extension {_CONFIG}: it can't be written as JSON") from None


def parse_credential(output: bytes, version: str) -> Credential:
    """Parse what a plugin wrote; raise ``BadInput``, whose text has nothing of it."""
    try:
        record = json.loads(output)
    except (ValueError, RecursionError):
        raise BadInput("its output is not JSON") from None
    if not isinstance(record, dict) or get_str(record, "kind") != _KIND:
        raise BadInput(f"its output is not an {_KIND}")
    if get_str(record, "apiVersion") != version:
        raise BadInput(f"its output is of another version than {version}")
    status = get_object(record, "status")
    token = get_str(status, "token")
    if token and not is_token(token):
        raise BadInput("status.token: not a token")
    certificate, key = _pem(status, "clientCertificateData"), _pem(status, "clientKeyData")
    if bool(certificate) is not bool(key):
        raise BadInput("clientCertificateData and clientKeyData go together")
    if not token and not certificate:
        raise BadInput("its output has neither a token nor a client certificate")
    return Credential(
        token=token, certificate=certificate, certificate_key=key, expires_at=_expiry(status)
    )


def _pem(status: JSONObject, name: str) -> str:
    text = get_str(status, name)
    try:
        return pem_blocks(text.encode()) if text else ""
    except (UnicodeError, BadInput):
        raise BadInput(f"status.{name}: not PEM") from None


def _expiry(status: JSONObject) -> int:
    if status.get("expirationTimestamp") is None:
        return 0
    expires_at = get_time(status, "expirationTimestamp")
    if not expires_at:
        raise BadInput("status.expirationTimestamp: not a time")
    return expires_at
