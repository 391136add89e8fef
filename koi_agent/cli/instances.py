"""The records of all instances, and those that words of the command line mean."""

from collections.abc import Sequence
from typing import Any

from koi_agent.cli import resolve
from koi_agent.cli.client import Client, agent
from koi_agent.core import lookup
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES

Record = dict[str, Any]


def read(scope: str) -> list[Record]:
    """Return the records of all instances, sorted by name."""
    with agent(scope) as client:
        records = of(client)
    return sorted(records, key=lambda record: (record["name"], record["backend"], record["id"]))


def of(client: Client) -> list[Record]:
    """Return the records of all instances."""
    return [INSTANCE_PROPERTIES.record(values) for values in client.instances()]


def named(records: Sequence[Record], names: Sequence[str]) -> tuple[list[Record], list[str]]:
    """Return the records that any of the words means, and the words that mean none."""
    if not names:
        return list(records), []
    subjects = [resolve.subject(record) for record in records]
    found = {word: lookup.find(word, subjects) for word in names}
    keys = {str(one.key) for some in found.values() for one in some}
    meant = [record for record in records if record["key"] in keys]
    return meant, [word for word, some in found.items() if not some]
