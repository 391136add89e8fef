"""The addresses of an instance: those of the network devices that the server gave it.

An instance may have interfaces of its own, such as the bridge of containers that run in it. Nothing
outside reaches their addresses, so they are left out.
"""

from collections.abc import Iterator
from ipaddress import ip_address

from koi_agent.backends.http_engine.json_fields import (
    JSONObject,
    get_ip,
    get_object,
    get_objects,
    get_str,
)


def addresses_of(record: JSONObject) -> tuple[str, ...]:
    """Return the global addresses in the state of an instance, IPv4 first."""
    interfaces = list(_interfaces(get_object(record, "state")))
    given = _given_hardware_addresses(record)
    known = [one for one in interfaces if get_str(one, "hwaddr").lower() in given]
    # ipvlan has the hardware address of the host's interface, which no key names.
    found = {address for one in known or interfaces for address in _global_addresses(one)}
    return tuple(sorted(found, key=_order))


def has_network_device(record: JSONObject) -> bool:
    """Return True if an instance may get an address."""
    devices = get_object(record, "expanded_devices")
    return any(get_str(get_object(devices, name), "type") == "nic" for name in devices)


def _interfaces(state: JSONObject) -> Iterator[JSONObject]:
    network = get_object(state, "network")
    for name in network:
        interface = get_object(network, name)
        if get_str(interface, "type") != "loopback":
            yield interface


def _given_hardware_addresses(record: JSONObject) -> set[str]:
    """Return the hardware addresses that the server gave the instance, in lower case."""
    config, devices = get_object(record, "expanded_config"), get_object(record, "expanded_devices")
    keys = (key for key in config if key.startswith("volatile.") and key.endswith(".hwaddr"))
    found = {get_str(config, key) for key in keys}
    found |= {get_str(get_object(devices, name), "hwaddr") for name in devices}
    return {address.lower() for address in found if address}


def _global_addresses(interface: JSONObject) -> Iterator[str]:
    for address in get_objects(interface, "addresses"):
        if get_str(address, "scope") == "global" and (text := get_ip(address, "address")):
            yield str(ip_address(text))


def _order(address: str) -> tuple[int, bytes]:
    parsed = ip_address(address)
    return parsed.version, parsed.packed
