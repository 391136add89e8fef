"""The fields that all objects of the API share: identity, version, owner."""

import re
from typing import Final

from koi_agent.backends.http_engine.json_fields import JSONObject, get_object, get_objects, get_str
from koi_agent.core.errors import BadInput

_UID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_NODE: Final = "Node"
_VERSION: Final = re.compile(r"[0-9]{1,20}", re.ASCII)


def is_uid(text: str) -> bool:
    """Return True for a text that can be a UID."""
    return bool(_UID.fullmatch(text))


def get_uid(record: JSONObject) -> str:
    """Return the UID of an object; raise ``BadInput``."""
    uid = get_str(get_object(record, "metadata"), "uid")
    if not is_uid(uid):
        raise BadInput("metadata.uid: not an id")
    return uid


def get_name(record: JSONObject, field: str = "name") -> str:
    """Return the name or the namespace of an object; raise ``BadInput``."""
    name = get_str(get_object(record, "metadata"), field)
    if not _NAME.fullmatch(name):
        raise BadInput(f"metadata.{field}: not a name")
    return name


def get_version(record: JSONObject) -> int:
    """Return the version of an object or of a list; raise ``BadInput``.

    Servers number their changes. A greater number is newer.
    """
    version = get_str(get_object(record, "metadata"), "resourceVersion")
    if not _VERSION.fullmatch(version):
        raise BadInput("metadata.resourceVersion: not a number")
    return int(version)


def get_owner(record: JSONObject) -> tuple[str, str]:
    """Return UID and name of the object that controls another one, or two empty texts.

    A node controls the pods of its kubelet's own files, which have nothing else in common.
    """
    for owner in get_objects(get_object(record, "metadata"), "ownerReferences"):
        uid, name = get_str(owner, "uid"), get_str(owner, "name")
        is_workload = owner.get("controller") is True and get_str(owner, "kind") != _NODE
        if is_workload and is_uid(uid) and _NAME.fullmatch(name):
            return uid, name
    return "", ""


def is_of_node(record: JSONObject) -> bool:
    """Return True for an object that a node owns."""
    owners = get_objects(get_object(record, "metadata"), "ownerReferences")
    return any(get_str(owner, "kind") == _NODE for owner in owners)


def get_texts(record: JSONObject, field: str) -> dict[str, str]:
    """Return the labels or the annotations of an object that are texts."""
    texts = get_object(get_object(record, "metadata"), field)
    return {key: text for key, text in texts.items() if isinstance(text, str)}
