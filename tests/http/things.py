"""Instances that have something of everything, and one with a hostile name."""

from dataclasses import replace

from koi_agent.core.checks import CheckKind, CheckStatus, HealthCheck
from koi_agent.core.instance import (
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


def checks() -> list[CheckStatus]:
    """Make the check of a shop that fails, and one of an instance that has gone."""
    check = HealthCheck(
        kind=CheckKind.HTTP, address="::1", port=8080, path="/up", interval=1.5, timeout=1.0
    )
    failed = CheckStatus(
        key=SHOP.key,
        check=check,
        health=Health.UNHEALTHY,
        last_checked=1_700_000_000_000_007,
        message="HTTP 500",
    )
    return [failed, replace(failed, key="docker:gone")]


HOSTILE = replace(
    unit("a\\x2db/..\u2028\x1b[31m\r\n\udc80</script>é.service"), name='"\\\n\r\ndata: x\x00'
)
