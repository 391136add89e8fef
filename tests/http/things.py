"""Instances with all properties, and one with a hostile name."""

from dataclasses import replace

from koi_agent.core.events import Checked, CheckStatus
from koi_agent.core.instance import (
    CheckKind,
    EnabledBy,
    Health,
    KoiMetadata,
    PortMapping,
    PortMetadata,
    PortSource,
    Protocol,
)
from tests.unit.things import container, unit

HTTP = PortMapping(
    container_port=80,
    protocol=Protocol.TCP,
    host_port=8080,
    host_ip="0.0.0.0",
    source=PortSource.PUBLISHED,
)
SHOP = replace(
    container("9f2c" * 16),
    name="shop",
    ports=(HTTP,),
    ips=("172.17.0.2",),
    image="docker.io/library/shop:1",
    metadata=KoiMetadata(
        enable=True,
        name="The shop",
        txt=(("path", "/"),),
        enabled_by=EnabledBy.EXPLICIT,
        ports=(((53, Protocol.UDP), PortMetadata(type="_dns._udp")),),
    ),
    health=Health.UNHEALTHY,
    health_detail="exit 1",
    created_at=1_700_000_000_000_001,
    project="market",
    replica=2,
)
WEB = unit("web.service")


CHECKED = Checked(
    SHOP.key,
    CheckStatus(
        kind=CheckKind.HTTP,
        target="http://[::1]:8080/up",
        interval=1.5,
        timeout=1.0,
        health=Health.UNHEALTHY,
        last_checked=1_700_000_000_000_007,
        message="HTTP 500",
    ),
)
"""A failed check of the shop."""

HOSTILE = replace(
    unit("a\\x2db/..\u2028\x1b[31m\r\n\udc80</script>é.service"), name='"\\\n\r\ndata: x\x00'
)
