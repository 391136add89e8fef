"""The clients that may transfer a zone, and the rate of answers to each network."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from typing import Any, Final

from koi_agent.capabilities.dns.keys import credential, read_key
from koi_agent.capabilities.dns.messages import Keyring
from koi_agent.config.dns import Transfers
from koi_agent.core.errors import BadInput
from koi_agent.core.reach.addresses import parse

log = logging.getLogger(__name__)

RATE: Final = 50.0
"""Answers over UDP to a remote network in one second, and in one burst."""
MOST_NETWORKS: Final = 4096
_PREFIXES: Final = {4: 24, 6: 56}


def may_transfer(allowed: Transfers, client: str, key_name: str) -> bool:
    """Return True if a client may transfer the zones; ``key_name`` is the key of its request."""
    if key_name and key_name in allowed.keys:
        return True
    address = parse(client)
    return address is not None and any(
        address.version == network.version and address in network for network in allowed.networks
    )


def keyring(names: Iterable[str], environment: Mapping[str, str]) -> Keyring:
    """Read keys from the credentials ``dns-key.NAME``; log a key that can't be used."""
    found: dict[Any, Any] = {}
    for name in names:
        try:
            found |= read_key(name, credential(name, environment))
        except BadInput as error:
            text = "[DNS] AllowTransfer=key:%s: no such key: %s; use LoadCredential=dns-key.%s:FILE"
            log.warning(text, name, error, name)
    return found


class RateLimit:
    """Limits the answers to clients whose addresses may be forged; ``clock`` returns seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admits(self, client: str) -> bool:
        """Count one answer to a client; return False if its network has received too many."""
        address = parse(client)
        if address is None or address.is_loopback:
            return True
        network = str(ip_network(f"{address}/{_PREFIXES[address.version]}", strict=False))
        now = self._clock()
        since, spent = self._spent.pop(network, (now, 0.0))
        spent = max(0.0, spent - (now - since) * RATE) + 1
        admitted = spent <= RATE
        self._spent[network] = now, spent if admitted else RATE
        if len(self._spent) > MOST_NETWORKS:
            self._spent.popitem(last=False)
        return admitted
