"""The filter of the responses of Incus or LXD: the fields that the agent reads, and no others.

A response is built field by field from what is named here. So the environment of an instance, its
cloud-init data, the secrets of its devices, all ``user.*`` but ``user.koi.*``, and what a later
server adds stay behind the gate.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from koi_agent.host.incus import INSTANCE_ACTIONS, NETWORK_ACTIONS, is_used_key
from koi_agent.services.gate.fields import (
    Filter,
    copy_fields,
    encode,
    list_of,
    map_of,
    object_of,
    scalar,
    strings,
)
from koi_agent.services.gate.incus.requests import Endpoint

_LIFECYCLE: Final = "lifecycle"
_ACTIONS: Final = (
    *INSTANCE_ACTIONS,
    *NETWORK_ACTIONS,
)  # a foreign value may be a list
_PROXY: Final = "proxy"


def filter_response(endpoint: Endpoint, body: bytes) -> bytes:
    """Return what passes of a whole response; raise ``ValueError`` if it is not JSON."""
    fields = {"type": scalar, "metadata": _METADATA[endpoint]}
    return encode(copy_fields(json.loads(body), fields))


def filter_listed(instance: object) -> bytes:
    """Return what passes of one element of the list of instances."""
    return encode(copy_fields(instance, _INSTANCE))


def filter_event(message: bytes) -> bytes:
    """Return what passes of an event as a line, or nothing.

    A message that is not JSON becomes an empty line: some event was lost.
    """
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        return b"\n"
    metadata = event.get("metadata") if isinstance(event, dict) else None
    if not isinstance(metadata, dict) or event.get("type") != _LIFECYCLE:
        return b""
    if metadata.get("action") not in _ACTIONS:
        return b""
    return encode(copy_fields(event, _EVENT)) + b"\n"


def _config(value: Any) -> Any:
    """Copy the keys that the agent reads."""
    if not isinstance(value, dict):
        return None
    return {key: scalar(text) for key, text in value.items() if is_used_key(key)}


def _device(value: Any) -> Any:
    """Copy the fields with addresses and ports.

    Only the addresses of proxy devices are not secret.
    """
    if not isinstance(value, dict):
        return None
    is_proxy = value.get("type") == _PROXY
    return copy_fields(value, _PROXY_DEVICE if is_proxy else _OTHER_DEVICE)


_OTHER_DEVICE: Final[Mapping[str, Filter]] = {"type": scalar, "hwaddr": scalar}
_PROXY_DEVICE: Final[Mapping[str, Filter]] = {
    "type": scalar,
    "listen": scalar,
    "connect": scalar,
    "bind": scalar,
}
_INTERFACE: Final = object_of(
    type=scalar, hwaddr=scalar, addresses=list_of(address=scalar, scope=scalar)
)
_INSTANCE: Final[Mapping[str, Filter]] = {
    "name": scalar,
    "project": scalar,
    "type": scalar,
    "status": scalar,
    "location": scalar,
    "created_at": scalar,
    "last_used_at": scalar,
    "expanded_config": _config,
    "expanded_devices": map_of(_device),
    "state": object_of(pid=scalar, network=map_of(_INTERFACE)),
}
_SERVER: Final = object_of(
    environment=object_of(
        server=scalar, server_version=scalar, server_clustered=scalar, server_name=scalar
    )
)
_EVENT: Final[Mapping[str, Filter]] = {
    "type": scalar,
    "project": scalar,
    "metadata": object_of(action=scalar, source=scalar, context=object_of(old_name=scalar)),
}
_METADATA: Final[Mapping[Endpoint, Filter]] = {
    Endpoint.SERVER: _SERVER,
    Endpoint.INSTANCE: object_of(**_INSTANCE),
    Endpoint.NETWORKS: list_of(name=scalar, project=scalar, managed=scalar, type=scalar),
    Endpoint.FORWARDS: list_of(
        listen_address=scalar,
        config=object_of(target_address=scalar),
        ports=list_of(
            listen_port=scalar, protocol=scalar, target_address=scalar, target_port=scalar
        ),
    ),
    Endpoint.BALANCERS: list_of(
        listen_address=scalar,
        ports=list_of(listen_port=scalar, protocol=scalar, target_backend=strings),
        backends=list_of(name=scalar, target_address=scalar, target_port=scalar),
    ),
}
