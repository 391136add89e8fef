"""The DNS-SD service type of a port: from metadata, else from the port number."""

from koi_agent.core.instance import KoiMetadata, Protocol
from koi_agent.core.metadata.names import protocol_of

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


def resolve(port: int, protocol: Protocol, metadata: KoiMetadata) -> str:
    """Return the service type of a port; ``port`` is the number inside the instance.

    The port's own type takes precedence over the instance's. A type of another protocol does not
    apply: ``_http._tcp`` is not a type for the UDP port of a web server.
    """
    of_port = dict(metadata.ports).get((port, protocol))
    for service_type in (of_port and of_port.type, metadata.service_type):
        if service_type and protocol_of(service_type) is protocol:
            return service_type
    return WELL_KNOWN.get((port, protocol), FALLBACK[protocol])
