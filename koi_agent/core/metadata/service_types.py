"""The DNS-SD service type of a port: from metadata, its check by HTTP, or the port number."""

from koi_agent.core.instance import Instance, KoiMetadata, Protocol
from koi_agent.core.metadata.names import protocol_of
from koi_agent.core.ports import serving_binds

FALLBACK = {Protocol.TCP: "_koi-managed._tcp", Protocol.UDP: "_koi-managed._udp"}

WELL_KNOWN = {
    (port, Protocol.TCP): service_type
    for service_type, ports in (
        ("_http._tcp", (80, 3000, 5000, 8000, 8080, 8888, 9000)),
        ("_https._tcp", (443, 8443)),
        ("_mysql._tcp", (3306,)),
        ("_postgresql._tcp", (5432,)),
        ("_redis._tcp", (6379,)),
        ("_mongodb._tcp", (27017,)),
        ("_cassandra._tcp", (9042,)),
        ("_cockroachdb._tcp", (26257,)),
        ("_mqtt._tcp", (1883,)),
        ("_amqp._tcp", (5672,)),
        ("_kafka._tcp", (9092,)),
        ("_nats._tcp", (4222,)),
        ("_prometheus._tcp", (9090,)),
        ("_loki._tcp", (3100,)),
        ("_otel-grpc._tcp", (4317,)),
        ("_otel-http._tcp", (4318,)),
        ("_elasticsearch._tcp", (9200,)),
        ("_jaeger._tcp", (16686,)),
        ("_dns._tcp", (53,)),
        ("_ssh._tcp", (22,)),
        ("_smtp._tcp", (25, 587)),
        ("_imap._tcp", (143, 993)),
        ("_ldap._tcp", (389, 636)),
        ("_vnc._tcp", (5900, 5901)),
        ("_rdp._tcp", (3389,)),
        ("_syncthing._tcp", (8384,)),
    )
    for port in ports
} | {
    (53, Protocol.UDP): "_dns._udp",
    (5353, Protocol.UDP): "_mdns._udp",
    (1900, Protocol.UDP): "_ssdp._udp",
    (51820, Protocol.UDP): "_wireguard._udp",
}


def is_http(metadata: KoiMetadata) -> bool:
    """Return True if metadata declares a check by HTTP."""
    if metadata.health_kind:
        return metadata.health_kind == "http"
    return metadata.health_path is not None


def http_port(instance: Instance) -> int:
    """Return the port that metadata declares to serve HTTP, by its number inside; 0 for none.

    It is the port that is checked.
    """
    metadata = instance.metadata
    if not is_http(metadata):
        return 0
    binds = serving_binds(instance)
    return metadata.port or (binds[0].container_port if binds else 0)


def resolve(port: int, protocol: Protocol, metadata: KoiMetadata, http: int) -> str:
    """Return the service type of a port; ``port`` is the number inside the instance.

    ``http`` is the instance's ``http_port``: without a type in metadata, its type is that of HTTP.

    The port's own type takes precedence over the instance's. A type of another protocol does not
    apply: ``_http._tcp`` is not a type for the UDP port of a web server.
    """
    of_port = dict(metadata.ports).get((port, protocol))
    for service_type in (of_port and of_port.type, metadata.service_type):
        if service_type and protocol_of(service_type) is protocol:
            return service_type
    if port == http and protocol is Protocol.TCP:
        return f"_{metadata.health_scheme or 'http'}._tcp"
    return WELL_KNOWN.get((port, protocol), FALLBACK[protocol])
