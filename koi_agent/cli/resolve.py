"""Which instances the words on the command line mean."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from koi_agent.bus.errors import CallError
from koi_agent.bus.object_paths import encode
from koi_agent.cli import records
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import AMBIGUOUS, GONE, Client, agent, text_of
from koi_agent.cli.output import Output, complain
from koi_agent.core import lookup
from koi_agent.core.dbus_names import INSTANCES
from koi_agent.core.errors import KoiError
from koi_agent.core.key import Key
from koi_agent.core.schema.instance import INSTANCE_PROPERTIES

Record = dict[str, Any]
Read = Callable[[Client, str], Record]
"""Reads a record of the instance at an object path."""


class NotFound(KoiError):
    """A word means no instance, or more than one."""


def write_each(
    arguments: Arguments, output: Output, read: Read, block: Callable[[Record, Output], str]
) -> int:
    """Write each instance that is named; returns 1 if a word means none or several, else 0."""
    found, errors = read_each(arguments.agent, arguments.names, read)
    if output.mode != "off":
        output.json(found)
    else:
        output.write_blocks(block(record, output) for record in found)
    output.flush()
    for error in errors:
        complain(error)
    return 1 if errors else 0


def read_each(scope: str, words: Iterable[str], read: Read) -> tuple[list[Record], list[str]]:
    """Return the records of the instances that are named, and an error for each other word.

    An instance that several words mean is read once.
    """
    found: dict[str, Record] = {}
    errors: list[str] = []
    with agent(scope) as client:
        resolver = Resolver(client)
        for word in words:
            try:
                for path in resolver.paths(word):
                    if path not in found:
                        found[path] = _record(client, path, word, read)
            except NotFound as error:
                errors.append(str(error))
    return list(found.values()), errors


def _record(client: Client, path: str, word: str, read: Read) -> Record:
    """Read one record; raises ``NotFound`` if the instance stopped since it was listed."""
    try:
        return read(client, path)
    except CallError as error:
        if error.name in GONE:
            raise none(word) from error
        raise


class Resolver:
    """Finds instances by words; the agent is asked once for each list that is needed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._short: Sequence[lookup.Subject] | None = None
        self._full: Sequence[lookup.Subject] | None = None

    def paths(self, word: str) -> Sequence[str]:
        """Return the paths of the instances that a word means; raises ``NotFound``.

        Only a pattern may mean several.
        """
        found = lookup.find_exactly(word, self._rows())
        found = found or lookup.find(word, self._subjects())
        if not found:
            return [self._of_unit(word)]
        if len(found) > 1 and not lookup.is_pattern(word):
            keys = ", ".join(str(one.key) for one in found)
            raise NotFound(f"'{word}' is more than one instance, name one of: {keys}")
        return [path_of(one.key) for one in found]

    def _rows(self) -> Sequence[lookup.Subject]:
        """Return keys and names only: the short list is fast with thousands of instances."""
        if self._short is None:
            rows = self._client.rows()
            self._short = [lookup.Subject(key=Key(r.backend, r.id), name=r.name) for r in rows]
        return self._short

    def _subjects(self) -> Sequence[lookup.Subject]:
        if self._full is None:
            instances = self._client.instances()
            self._full = [subject(INSTANCE_PROPERTIES.record(values)) for values in instances]
        return self._full

    def _of_unit(self, word: str) -> str:
        """Return the path of the instance of a unit that is not tracked, such as a scope."""
        try:
            return self._client.of_unit(word)
        except CallError as error:
            if error.name in GONE:
                raise none(word) from error
            if error.name == AMBIGUOUS:
                raise NotFound(f"'{word}': {text_of(error)}") from error
            raise


def subject(record: Record) -> lookup.Subject:
    """Return the names of an instance, by its record."""
    metadata = records.mapping(record, "metadata")
    announced = [one for one in record["announcements"] if one["status"] == "announced"]
    return lookup.Subject(
        key=Key(record["backend"], record["id"]),
        name=record["name"],
        units=tuple(filter(None, (record["unit"], *record["aliases"]))),
        announced=tuple(str(one["name"]) for one in announced),
        requested=tuple(filter(None, (records.text(metadata, k) for k in ("name", "dns_name")))),
    )


def path_of(key: Key) -> str:
    """Return the object path of an instance."""
    return f"{INSTANCES}/{encode(str(key))}"


def none(word: str) -> NotFound:
    """Return the error for a word that means no instance."""
    if lookup.is_pattern(word):
        return NotFound(f"no instance matches '{word}' (koi-runtime list shows all instances)")
    return NotFound(f"no instance named '{word}' (koi-runtime list shows all instances)")
