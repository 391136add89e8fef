"""Random instances and backends, with all values that a runtime can send."""

from hypothesis import strategies as st

from koi_agent.core.events import BackendState, BackendStatus
from koi_agent.core.instance import (
    EnabledBy,
    Health,
    Instance,
    InstanceState,
    KoiMetadata,
    PortMapping,
    PortMetadata,
    PortSource,
    Protocol,
    RecordState,
    RecordStatus,
)

# Numbers of the width that D-Bus has for them; text with all that JSON can carry.
TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
WORD, LONG, PORT_NUMBER = (st.integers(0, 2**width - 1) for width in (32, 64, 16))
TXT = st.dictionaries(TEXT, TEXT, max_size=2).map(lambda txt: tuple(sorted(txt.items())))
SUBTYPES = st.none() | st.lists(TEXT, max_size=2).map(tuple)
SERVICE_TYPE = st.sampled_from((None, "_http._tcp", "_dns._udp"))
OPTIONAL_TEXT, OPTIONAL_BOOLEAN = st.none() | TEXT, st.none() | st.booleans()
PORT_METADATA = st.builds(
    PortMetadata, type=SERVICE_TYPE, subtypes=SUBTYPES, name=OPTIONAL_TEXT, txt=TXT
)
KOI_METADATA = st.builds(
    KoiMetadata,
    enable=OPTIONAL_BOOLEAN,
    service_type=SERVICE_TYPE,
    subtypes=SUBTYPES,
    name=OPTIONAL_TEXT,
    txt=TXT,
    port=st.none() | PORT_NUMBER,
    health_interval=st.none() | LONG,
    proxy_port=st.none() | PORT_NUMBER,
    proxy_remote=OPTIONAL_BOOLEAN,
    enabled_by=st.none() | st.sampled_from(EnabledBy),
    ports=st.dictionaries(
        st.tuples(PORT_NUMBER, st.sampled_from(Protocol)), PORT_METADATA, max_size=2
    ).map(lambda ports: tuple(sorted(ports.items(), key=lambda item: item[0]))),
)
INSTANCES = st.builds(
    Instance,
    id=TEXT,
    name=TEXT,
    backend=TEXT,
    state=st.sampled_from(InstanceState),
    state_detail=TEXT,
    image=TEXT,
    ports=st.lists(
        st.builds(
            PortMapping,
            container_port=PORT_NUMBER,
            protocol=st.sampled_from(Protocol),
            host_port=PORT_NUMBER,
            host_ip=TEXT,
            source=st.sampled_from(PortSource),
        ),
        max_size=2,
    ).map(tuple),
    ips=st.lists(TEXT, max_size=2).map(tuple),
    metadata=KOI_METADATA,
    health=st.sampled_from(Health),
    health_detail=TEXT,
    unit=TEXT,
    control_group=TEXT,
    main_pid=WORD,
    invocation_id=st.binary(max_size=16),
    created_at=LONG,
    discovered_at=LONG,
    stale=st.booleans(),
    project=TEXT,
    replica=WORD,
    announcements=st.lists(
        st.builds(
            RecordStatus,
            capability=TEXT,
            name=TEXT,
            state=st.sampled_from(RecordState),
            provider=TEXT,
            reason=TEXT,
            since=LONG,
        ),
        max_size=2,
    ).map(tuple),
)
BACKENDS = st.builds(
    BackendStatus,
    name=TEXT,
    kind=TEXT,
    state=st.sampled_from(BackendState),
    endpoint=TEXT,
    runtime_version=TEXT,
    instances=WORD,
    last_error=TEXT,
    reconnects=LONG,
    drift=LONG,
    last_sync=LONG,
)
