"""Puts flags over environment over files over defaults, and remembers who said what."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from koi_agent.config.files import File, files, trees
from koi_agent.config.keys import KEYS, SECTIONS, Key
from koi_agent.config.readers import NONE
from koi_agent.config.settings import (
    CapabilitiesConfig,
    Config,
    EngineConfig,
    FlagError,
    Flags,
    HealthConfig,
    HTTPConfig,
    Origin,
    Setting,
    SystemdConfig,
    scope,
)
from koi_agent.core.errors import BadInput, ConfigError
from koi_agent.core.metadata.names import shown, shown_key
from koi_agent.core.metadata.values import unit_boolean
from koi_agent.core.text import printable
from koi_agent.core.unit_file.syntax import Document, Entry, parse

MOST_WARNINGS: Final = 20
"""Warnings that one file gets; more are only counted."""
_FOREIGN = "X-"
_ROWS = {(row.section, row.key): row for row in KEYS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What is asked of the agent, by whom, and what was read.

    ``settings`` are in the order of the table, each list's in theirs. ``files`` are those that
    say something, each over the ones before it. ``warnings`` are fit to print.
    """

    config: Config
    settings: tuple[Setting, ...]
    files: tuple[str, ...]
    warnings: tuple[str, ...]


def load(flags: Flags, environment: Mapping[str, str]) -> Loaded:
    """Read all there is to read, anew each time.

    Raises ``ConfigError``, which names the line of a file or the variable, and ``FlagError`` for
    what was typed.
    """
    wanted = scope(flags.scope)
    found, warnings = files(trees(wanted, environment))
    assignments: defaultdict[Key, list[Setting]] = defaultdict(list)
    for file in found:
        for setting in _settings(file, warnings):
            assignments[_ROWS[setting.section, setting.key]].append(setting)
    values: dict[str, object] = {}
    settings: list[Setting] = []
    for row in KEYS:
        in_force = _said(row, flags, environment) or _in_force(row, assignments[row])
        values[row.attribute] = _value(row, in_force)
        settings += in_force
    return Loaded(
        config=_config(wanted, values),
        settings=tuple(settings),
        files=tuple(file.path for file in found),
        warnings=tuple(warnings),
    )


def _config(scope: str, values: Mapping[str, object]) -> Config:
    """Lay out the values; each reader's type is that of its attribute, which a test holds."""
    parts: dict[str, dict[str, Any]] = defaultdict(dict)
    for attribute, value in values.items():
        part, _, name = attribute.rpartition(".")
        parts[part][name] = value
    return Config(
        scope=scope,
        docker=EngineConfig(**parts["docker"]),
        podman=EngineConfig(**parts["podman"]),
        systemd=SystemdConfig(**parts["systemd"]),
        http=HTTPConfig(**parts["http"]),
        capabilities=CapabilitiesConfig(**parts["capabilities"]),
        health=HealthConfig(**parts["health"]),
        **parts[""],
    )


def _settings(file: File, warnings: list[str]) -> Iterator[Setting]:
    """Read what a file says, all of it: a bad value is one, even where another is in force."""
    where = printable(file.path)
    try:
        document = parse(file.data)
    except BadInput as trouble:
        raise ConfigError(f"{where}: {trouble}") from trouble
    warnings += _capped(where, _complaints(document))
    for entry in document.entries:
        if row := _ROWS.get((entry.section, entry.key)):
            setting = _setting(row, entry.value, Origin(file=file.path, line=entry.line))
            if setting.value:
                _value(row, (setting,))
            yield setting


def _complaints(document: Document) -> list[tuple[int, str]]:
    """Say what a file has that means nothing here, by line; ``X-`` is for others, as always."""
    said = [(line.line, f"{shown(line.text)} {line.reason}, ignored") for line in document.ignored]
    unknown: dict[str, Entry] = {}
    for entry in document.entries:
        if entry.section.startswith(_FOREIGN) or entry.key.startswith(_FOREIGN):
            continue
        section = f"[{shown_key(entry.section)}]"
        if entry.section not in SECTIONS:
            unknown.setdefault(section, entry)
        elif (entry.section, entry.key) not in _ROWS:
            said.append((entry.line, f"unknown key '{shown_key(entry.key)}' in {section}, ignored"))
    said += [(entry.line, f"unknown section {name}, ignored") for name, entry in unknown.items()]
    return sorted(said)


def _capped(where: str, said: Sequence[tuple[int, str]]) -> Iterator[str]:
    for line, complaint in said[:MOST_WARNINGS]:
        yield f"{where}:{line}: {complaint}"
    if (more := len(said) - MOST_WARNINGS) > 0:
        yield f"{where}: {more} more lines mean nothing here"


def _in_force(row: Key, assigned: Sequence[Setting]) -> tuple[Setting, ...]:
    """Pick what counts of all that the files assign to a key."""
    last_empty = max((i for i, said in enumerate(assigned) if not said.value), default=-1)
    kept = assigned[last_empty + 1 :]
    if not row.many:
        kept = kept[-1:]
    if kept:
        return tuple(kept)
    if assigned and row.emptied is not None:
        return (_setting(row, row.emptied, assigned[-1].origin),)
    return (_setting(row, row.default, Origin()),)


def _said(row: Key, flags: Flags, environment: Mapping[str, str]) -> tuple[Setting, ...]:
    """Read what a flag or else a variable says; the empty tuple where neither says anything.

    An empty variable is as good as none, an empty flag is not.
    """
    if row.attribute == "backends" and (nothing := _told_to_follow_none(flags, environment)):
        return (_setting(row, NONE, nothing),)
    typed = {"--runtime": flags.runtime, "--log-level": flags.log_level}
    text, origin = typed.get(row.flag), Origin(flag=row.flag)
    if text is None:
        text, origin = environment.get(row.variable) or None, Origin(variable=row.variable)
    if text is None:
        return ()
    _read(row.said or row.read, row, text, origin)
    return (_setting(row, " ".join(text.split()), origin),)


def _told_to_follow_none(flags: Flags, environment: Mapping[str, str]) -> Origin | None:
    """Find who says that no runtime is to be followed, unless somebody weightier names some."""
    if flags.no_runtime:
        return Origin(flag="--no-runtime")
    text = environment.get("KOI_NO_RUNTIME")
    if flags.runtime is None and text:
        origin = Origin(variable="KOI_NO_RUNTIME")
        if _read(unit_boolean, _ROWS["Runtime", "Backends"], text, origin):
            return origin
    return None


def _setting(row: Key, text: str, origin: Origin) -> Setting:
    """Write a value as a file would have it; a tab is a space, between words and nowhere else."""
    value = text.replace("\t", " ")
    return Setting(section=row.section, key=row.key, value=value, origin=origin)


def _value(row: Key, settings: Sequence[Setting]) -> object:
    """Read what these say together; what is wrong only together is the last one's fault."""
    return _read(row.read, row, " ".join(said.value for said in settings), settings[-1].origin)


def _read(read: Callable[[str], object], row: Key, text: str, origin: Origin) -> object:
    try:
        return read(text)
    except BadInput as trouble:
        where = printable(str(origin))
        if origin.flag:
            raise FlagError(f"{where}: {trouble}") from trouble
        if origin.variable:
            raise ConfigError(f"{where}: {trouble}") from trouble
        raise ConfigError(f"{where}: [{row.section}] {row.key}=: {trouble}") from trouble
