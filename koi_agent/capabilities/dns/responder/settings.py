"""The settings of a responder, as a value: equal responders are not restarted."""

from socket import socket

from koi_agent.config import Listen
from koi_agent.config.dns import Server, Transfers
from koi_agent.core.frozen import frozen
from koi_agent.core.plan.full_names import Domains
from koi_agent.core.reach.addresses import Network


@frozen(kw_only=True)
class ResponderSettings:
    """The addresses ``listen`` of a DNS server, and the sockets that systemd has ``passed``.

    ``networks`` have zones for reverse names. ``scope`` is that of the agent, ``ttl`` seconds.
    """

    scope: str
    domains: Domains
    networks: tuple[Network, ...]
    ttl: int
    listen: tuple[Listen, ...]
    passed: tuple[socket, ...]
    allow_transfer: Transfers
    notify: tuple[Server, ...]
