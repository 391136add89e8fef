"""Reads a kubeconfig file: the door to PyYAML, which is loaded with the first file.

The file names clusters, users and contexts, of which one is used. A field that
changes where credentials go, and that is not supported, is refused with its name.
"""

import binascii
import json
import os
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from koi_agent.backends.http_engine.json_fields import JSONObject, get_object, get_objects, get_str
from koi_agent.backends.kubernetes.access import Access, read_file, read_trusted
from koi_agent.backends.kubernetes.pem import is_token, pem_blocks
from koi_agent.backends.kubernetes.plugin import Plugin, parse_plugin
from koi_agent.core.errors import BackendAbsent, BackendLost, BadInput
from koi_agent.core.metadata.names import shown

_UNSUPPORTED_BY_CLUSTER: Final = ("proxy-url", "tls-server-name")
_UNSUPPORTED_BY_USER: Final = ("auth-provider", "username", "as")


def read_kubeconfig(path: str, context: str, user: int | None = None) -> Access:
    """Return the access that a file describes; raise ``BackendLost`` or ``BackendAbsent``.

    ``context`` is the name of a context in it, or "" for the current one. ``user`` is the UID of
    the agent, None for that of this process.
    """
    try:
        try:
            data, is_trusted = read_trusted(Path(path), os.geteuid() if user is None else user)
        except FileNotFoundError as error:
            raise BackendAbsent(f"{path}: {error.strerror}") from error
        return _trusted(_access(_parsed(_text(data)), Path(path), context), is_trusted=is_trusted)
    except OSError as error:
        raise BackendLost(f"{error.filename or path}: {error.strerror}") from error
    except BadInput as bad:
        raise BackendLost(f"{path}: {bad}") from bad


def _trusted(access: Access, *, is_trusted: bool) -> Access:
    """Return an access; raise ``BadInput`` if other users may choose the program that it runs."""
    if access.plugin and not is_trusted:
        raise BadInput("exec: other users may change the file; run chown root and chmod 600")
    return access


def _text(data: bytes) -> str:
    """Return the text of a file; raise ``BadInput``."""
    try:
        return data.decode()
    except UnicodeError:
        raise BadInput("not UTF-8") from None


def _parsed(text: str) -> JSONObject:
    """Parse YAML, or JSON, which is YAML too; raise ``BadInput``."""
    try:
        value = json.loads(text) if text.lstrip().startswith("{") else _yaml(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not valid: {error}") from error
    if not isinstance(value, dict):
        raise BadInput("not a kubeconfig file: it has no fields")
    return value


def _yaml(text: str) -> object:
    """Parse YAML; raise ``ValueError`` with the place of an error."""
    try:
        import yaml  # type: ignore[import-untyped]  # noqa: PLC0415 - only for Kubernetes
    except ImportError as error:
        raise BadInput("PyYAML is not installed; install the package python3-yaml") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        # The text of the error contains a line of the file, which may be a secret.
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{place}{getattr(error, 'problem', None) or 'not YAML'}") from error
    except (AttributeError, LookupError, TypeError, ValueError):
        # PyYAML raises these for values that do not match their tags.
        raise ValueError("a value does not suit its tag") from None


def _access(config: JSONObject, path: Path, name: str) -> Access:
    name = name or get_str(config, "current-context")
    if not name:
        raise BadInput("it has no current-context; set Context= of [Kubernetes]")
    context = get_object(_named(config, "contexts", name), "context")
    cluster_name, user_name = get_str(context, "cluster"), get_str(context, "user")
    cluster = get_object(_named(config, "clusters", cluster_name), "cluster")
    user = get_object(_named(config, "users", user_name), "user") if user_name else {}
    _check_supported(f"cluster {shown(cluster_name)}", cluster, _UNSUPPORTED_BY_CLUSTER)
    _check_supported(f"user {shown(user_name)}", user, _UNSUPPORTED_BY_USER)
    server = _server(cluster, cluster_name)
    authority = _pem(cluster, "certificate-authority", path)
    is_insecure = cluster.get("insecure-skip-tls-verify") is True
    if is_insecure and authority:
        raise BadInput("insecure-skip-tls-verify and certificate-authority exclude each other")
    try:
        identity = _identity(user, path)
        if user.get("exec"):
            identity["plugin"] = _plugin(user, cluster, authority, path)
    except BadInput as bad:
        raise BadInput(f"user {shown(user_name)}: {bad}") from None
    if server.startswith("http://") and any(identity.values()):
        raise BadInput(f"cluster {shown(cluster_name)}: credentials need a server with https")
    return Access(
        origin=str(path), server=server, authority=authority, is_insecure=is_insecure, **identity
    )


def _identity(user: JSONObject, path: Path) -> dict[str, Any]:
    """Return the fields of ``Access`` that are the credentials of a user; raise ``BadInput``."""
    token = get_str(user, "token")
    if token and not is_token(token):
        raise BadInput("token: not a token")
    certificate = _pem(user, "client-certificate", path)
    key = _pem(user, "client-key", path)
    if bool(certificate) is not bool(key):
        raise BadInput("client-certificate and client-key go together")
    return {
        "token": token,
        "token_file": _file(user, "tokenFile", path),
        "certificate": certificate,
        "certificate_key": key,
    }


def _plugin(user: JSONObject, cluster: JSONObject, authority: str, path: Path) -> Plugin:
    for field in ("token", "tokenFile", "client-certificate", "client-certificate-data"):
        if user.get(field):
            raise BadInput(f"exec and {field} exclude each other")
    return parse_plugin(user, cluster, authority, path.parent)


def _named(config: JSONObject, kind: str, name: str) -> JSONObject:
    """Return the entry of a list that has a name; raise ``BadInput`` without it."""
    entries: Iterator[JSONObject] = get_objects(config, kind)
    for entry in entries:
        if get_str(entry, "name") == name:
            return entry
    raise BadInput(f"{kind}: {shown(name)} is missing")


def _check_supported(subject: str, entry: JSONObject, unsupported: tuple[str, ...]) -> None:
    for field in unsupported:
        if entry.get(field):
            advice = "; use the token of a service account" if subject.startswith("user") else ""
            raise BadInput(f"{subject}: {field} is not supported{advice}")


def _server(cluster: JSONObject, name: str) -> str:
    server, scheme = get_str(cluster, "server"), ""
    try:
        split = urlsplit(server)
        scheme = split.scheme
        is_usable = scheme in ("https", "http") and bool(split.hostname) and split.port != 0
    except ValueError:
        is_usable = False
    if "@" in server:  # it may be a password
        raise BadInput(f"cluster {shown(name)}: server: a URL with a user is not supported")
    if not is_usable or not server.isprintable():
        raise BadInput(f"cluster {shown(name)}: server: {shown(server)} is not a URL")
    return f"{scheme}{server[len(scheme) :]}".rstrip("/")


def _pem(entry: JSONObject, field: str, path: Path) -> str:
    """Return PEM text: the data in a field, or the content of the file that it names."""
    name = f"{field}-data"
    if entry.get(name) is not None:
        try:
            return pem_blocks(b64decode(get_str(entry, name), validate=True))
        except (binascii.Error, ValueError, BadInput):
            raise BadInput(f"{name} is not PEM in base64") from None
    file = _file(entry, field, path)
    try:
        return pem_blocks(read_file(Path(file))) if file else ""
    except BadInput as bad:
        raise BadInput(f"{field}: {file}: {bad}") from None


def _file(entry: JSONObject, field: str, path: Path) -> str:
    """Return the path of the file that a field names, "" without the field."""
    if entry.get(field) is None:
        return ""
    file = get_str(entry, field)
    if not file or not file.isprintable():
        raise BadInput(f"{field}: not the path of a file")
    return str(path.parent / file)
