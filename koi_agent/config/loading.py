"""Merges defaults, files, environment and options into one configuration with its origins."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Final

from koi_agent.config.files import File, files, trees
from koi_agent.config.keys import Assignments, Key, build
from koi_agent.config.readers import NONE
from koi_agent.config.settings import KEYS, Config, FlagError, Flags, Origin, Setting, scope
from koi_agent.core.errors import BadInput, ConfigError
from koi_agent.core.frozen import frozen
from koi_agent.core.metadata.names import shown, shown_key
from koi_agent.core.metadata.values import unit_boolean
from koi_agent.core.text import printable
from koi_agent.core.unit_file.syntax import Document, Entry, Ignored, parse

MOST_WARNINGS: Final = 20
"""Warnings about one file; further ones are only counted."""
_Ignored = tuple[int, Callable[[], str]]
"""A line that is ignored, and what makes its warning, which is expensive."""
_FOREIGN = "X-"
_SECTIONS = frozenset(key.section for key in KEYS)
_BY_PLACE = {(key.section, key.name): key for key in KEYS}
_BACKENDS = _BY_PLACE["Runtime", "Backends"]


@frozen(kw_only=True)
class Loaded:
    """The configuration, and where it comes from.

    ``settings`` are in the order of ``KEYS``, those of a list in the order of their assignments.
    ``files`` are those that were read, lowest priority first. ``warnings`` are printable.
    """

    config: Config
    settings: tuple[Setting, ...]
    files: tuple[str, ...]
    warnings: tuple[str, ...]


def load(flags: Flags, environment: Mapping[str, str]) -> Loaded:
    """Read the configuration from disk, from the environment and from the options.

    Raises ``ConfigError`` with the line of the file or the variable, or ``FlagError`` with the
    option.
    """
    effective_scope = scope(flags.scope)
    found, warnings = files(trees(effective_scope, environment))
    assignments: defaultdict[Key, list[Setting]] = defaultdict(list)
    for file in found:
        for setting in _settings(file, warnings):
            assignments[_BY_PLACE[setting.section, setting.key]].append(setting)
    values: dict[str, object] = {}
    settings: list[Setting] = []
    for key in KEYS:
        in_force = _overriding(key, flags, environment) or _in_force(key, assignments[key])
        values[key.attribute] = _value(key, in_force)
        settings += in_force
    return Loaded(
        config=build(Config, values, scope=effective_scope),
        settings=tuple(settings),
        files=tuple(file.path for file in found),
        warnings=tuple(warnings),
    )


def _settings(file: File, warnings: list[str]) -> Iterator[Setting]:
    """Yield the assignments of a file; an invalid one is refused even if another is in force."""
    path = printable(file.path)
    try:
        document = parse(file.data)
    except BadInput as error:
        raise ConfigError(f"{path}: {error}") from error
    warnings += _limited(path, _ignored(document))
    for entry in document.entries:
        if key := _BY_PLACE.get((entry.section, entry.key)):
            setting = _setting(key, entry.value, Origin(file=file.path, line=entry.line))
            if setting.value:
                _value(key, (setting,))
            yield setting


def _ignored(document: Document) -> list[_Ignored]:
    """Return all that is ignored, by line; ``X-`` marks what is for other programs."""
    found: list[_Ignored] = [(line.line, partial(_malformed, line)) for line in document.ignored]
    unknown: dict[str, Entry] = {}
    for entry in document.entries:
        if entry.section.startswith(_FOREIGN) or entry.key.startswith(_FOREIGN):
            continue
        if entry.section not in _SECTIONS:
            unknown.setdefault(entry.section, entry)
        elif (entry.section, entry.key) not in _BY_PLACE:
            found.append((entry.line, partial(_unknown_key, entry)))
    found += [(entry.line, partial(_unknown_section, entry)) for entry in unknown.values()]
    return sorted(found, key=itemgetter(0))


def _malformed(line: Ignored) -> str:
    return f"{shown(line.text)} {line.reason}, ignored"


def _unknown_key(entry: Entry) -> str:
    from koi_agent.config import suggestions  # noqa: PLC0415 - most files have no unknown key

    text = f"unknown key '{shown_key(entry.key)}' in [{entry.section}], ignored"
    hint = suggestions.for_key(entry.section, entry.key, tuple(_BY_PLACE))
    return f"{text}; {hint}" if hint else text


def _unknown_section(entry: Entry) -> str:
    from koi_agent.config import suggestions  # noqa: PLC0415 - most files have no unknown section

    text = f"unknown section [{shown_key(entry.section)}], ignored"
    hint = suggestions.for_section(entry.section, _SECTIONS)
    return f"{text}; {hint}" if hint else text


def _limited(path: str, ignored: Sequence[_Ignored]) -> Iterator[str]:
    """Yield the first warnings, and then the number of further ones."""
    for line, text in ignored[:MOST_WARNINGS]:
        yield f"{path}:{line}: {text()}"
    if (more := len(ignored) - MOST_WARNINGS) > 0:
        yield f"{path}: {more} more lines ignored"


def _in_force(key: Key, assigned: Sequence[Setting]) -> tuple[Setting, ...]:
    """Return those assignments of the files that count, or the default."""
    last_empty = max((i for i, one in enumerate(assigned) if not one.value), default=-1)
    kept = assigned[last_empty + 1 :]
    if key.assignments is Assignments.LAST:
        kept = kept[-1:]
    if kept:
        return tuple(kept)
    if assigned and key.assignments is Assignments.EMPTIABLE_LIST:
        return (_setting(key, "", assigned[-1].origin),)
    return (_setting(key, key.default, Origin()),)


def _overriding(key: Key, flags: Flags, environment: Mapping[str, str]) -> tuple[Setting, ...]:
    """Return the value of an option or else of a variable; an empty tuple if neither is given.

    An empty variable counts as not given, an empty option does not.
    """
    override = key.override
    if override is None:
        return ()
    if key is _BACKENDS and (origin := _no_runtime(flags, environment)):
        return (_setting(key, NONE, origin),)
    text, origin = flags.value(override.option), Origin(flag=override.option)
    if text is None:
        text = environment.get(override.variable) or None
        origin = Origin(variable=override.variable)
    if text is None:
        return ()
    _read(override.read, key, text, origin)
    return (_setting(key, " ".join(text.split()), origin),)


def _no_runtime(flags: Flags, environment: Mapping[str, str]) -> Origin | None:
    """Return the origin of a request to follow no backend, unless ``--runtime`` overrides it."""
    if flags.no_runtime:
        return Origin(flag="--no-runtime")
    text = environment.get("KOI_NO_RUNTIME")
    if flags.runtime is None and text:
        origin = Origin(variable="KOI_NO_RUNTIME")
        if _read(unit_boolean, _BACKENDS, text, origin):
            return origin
    return None


def _setting(key: Key, text: str, origin: Origin) -> Setting:
    """Return a setting with its text as in a file; tabs occur only between words."""
    value = text.replace("\t", " ")
    return Setting(section=key.section, key=key.name, value=value, origin=origin)


def _value(key: Key, settings: Sequence[Setting]) -> object:
    """Return the value of all assignments; an error of their sum is reported at the last one."""
    return _read(key.read, key, " ".join(one.value for one in settings), settings[-1].origin)


def _read(read: Callable[[str], object], key: Key, text: str, origin: Origin) -> object:
    try:
        return read(text)
    except BadInput as error:
        where = printable(str(origin))
        if origin.flag:
            raise FlagError(f"{where}: {error}") from error
        if origin.variable:
            raise ConfigError(f"{where}: {error}") from error
        raise ConfigError(f"{where}: [{key.section}] {key.name}=: {error}") from error
