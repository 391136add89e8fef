"""Writes the completions of bash, zsh and fish into a folder, from the tables of the command line.

A template of each shell has the code that does not depend on the tables. The script needs only the
standard library, because packages run it where the agent's libraries are not installed::

    PYTHONPATH=. python3 packaging/completion/generate.py build/completion
"""

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from koi_agent.cli.syntax import COMMANDS, MAIN, SHARED, Argument, Command, Option, Source

HERE = Path(__file__).parent
OPTIONS = (*SHARED, *MAIN, *(option for command in COMMANDS for option in command.options))
VALUED = [option for option in OPTIONS if option.metavar]
SCOPES = [option.flags[-1] for option in OPTIONS if option.target == "scope"]
# A word that needs no quoting in any shell.
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def main() -> None:
    """Write the completions of all shells into the folder that is the first argument."""
    for file, text in files().items():
        path = Path(sys.argv[1], file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def files() -> Mapping[str, str]:
    """Return the completions by path: the shell, and the file name that the shell looks for."""
    return {
        "bash/koi-runtime": fill("koi-runtime.bash.in", bash()),
        "zsh/_koi-runtime": fill("koi-runtime.zsh.in", zsh()),
        "fish/koi-runtime.fish": fill("koi-runtime.fish.in", fish()),
    }


def fill(template: str, parts: Mapping[str, str]) -> str:
    """Return a template with each ``@NAME@`` replaced; raise ``KeyError`` for unknown names."""
    return re.sub(r"@([A-Z]+)@", lambda found: parts[found[1]], (HERE / template).read_text())


def plain(words: Iterable[str]) -> str:
    """Join words that need no quoting; raise ``ValueError`` for others."""
    made = list(words)
    if bad := [word for word in made if not PLAIN.fullmatch(word)]:
        raise ValueError(f"completion: a word would need quoting: {bad[0]}")
    return " ".join(made)


def by_argument() -> Mapping[Argument, list[str]]:
    """Return the names of the commands that take each argument."""
    found: dict[Argument, list[str]] = {}
    for command in COMMANDS:
        if command.argument:
            found.setdefault(command.argument, []).append(command.name)
    return found


# --- bash ----------------------------------------------------------------------------------------


def bash() -> Mapping[str, str]:
    """Return the parts of bash's template."""
    own = {"''": MAIN, **{command.name: command.options for command in COMMANDS}}
    return {
        "VALUES": lines(8, (bash_values(option) for option in VALUED if option.words)),
        "SCOPES": " | ".join(SCOPES),
        "VALUED": "|".join(option.name for option in VALUED),
        "SHARED": bash_flags(SHARED),
        "OPTIONS": lines(
            8, (f"{name}) options+=({bash_flags(rows)}) ;;" for name, rows in own.items() if rows)
        ),
        "COMMANDS": plain(command.name for command in COMMANDS),
        "ARGUMENTS": lines(12, map(bash_argument, by_argument().items())),
    }


def lines(indent: int, texts: Iterable[str]) -> str:
    """Join lines, each indented by a number of spaces."""
    return "\n".join(" " * indent + text for text in texts)


def bash_values(option: Option) -> str:
    several = "several=yes; " if option.several else ""
    return f"{option.flags[-1]}) {several}set -- {plain(option.words)} ;;"


def bash_flags(options: Iterable[Option]) -> str:
    """Return flags, with = after those that take a value."""
    return " ".join(flag + "=" * bool(one.metavar) for one in options for flag in one.flags)


def bash_argument(row: tuple[Argument, list[str]]) -> str:
    argument, names = row
    once = "[[ ${#given[@]} -gt 1 ]] || " if argument.nargs == "?" else ""
    return f"{' | '.join(names)}) {once}_koi_runtime_{argument.source} ;;"


# --- zsh -----------------------------------------------------------------------------------------


def zsh() -> Mapping[str, str]:
    """Return the parts of zsh's template."""
    own = [command for command in COMMANDS if command.options or command.argument]
    return {
        "COMMANDS": lines(8, (quoted(f"{one.name}:{zsh_text(one.summary)}") for one in COMMANDS)),
        "SCOPES": "|".join(SCOPES),
        "SHARED": lines(8, map(zsh_option, SHARED)),
        "MAIN": lines(8, (f"{zsh_option(option)} \\" for option in MAIN)),
        "OWN": lines(8, (f"{one.name}) own=({' '.join(zsh_own(one))}) ;;" for one in own)),
    }


def quoted(text: str) -> str:
    """Quote a text for bash and zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def zsh_text(text: str) -> str:
    """Return a description as zsh has them: escaped, beginning in lower case."""
    return re.sub(r"([\\\[\]:])", r"\\\1", text[0].lower() + text[1:])


def zsh_option(option: Option) -> str:
    """Return the specification of an option for _arguments."""
    excluded = [
        flag
        for one in OPTIONS
        if option.target and one.target == option.target and one != option
        for flag in one.flags
    ]
    if option.action in ("help", "version"):
        excluded = ["-", ":", "*"]
    before = f"({' '.join(excluded)})" if excluded else ""
    after = f"[{zsh_text(option.help)}]"
    if option.metavar:
        after = f"={after}:{option.name}:{zsh_values(option)}"
    if len(option.flags) == 1:
        return quoted(f"{before}{option.flags[0]}{after}")
    return f"{quoted(before)}{{{','.join(option.flags)}}}{quoted(after)}"


def zsh_values(option: Option) -> str:
    words = plain(option.words)
    return f"_sequence compadd - {words}" if option.several else f"({words})"


def zsh_own(command: Command) -> list[str]:
    """Return the specifications that belong to a command alone."""
    specs = [zsh_option(option) for option in command.options]
    if argument := command.argument:
        many = "" if argument.nargs == "?" else "*"
        specs.append(quoted(f"{many}: :_koi_runtime_{argument.source}"))
    return specs


# --- fish ----------------------------------------------------------------------------------------


def fish() -> Mapping[str, str]:
    """Return the parts of fish's template."""
    main = "__koi_runtime_needs_command"
    found = [fish_option(option) for option in SHARED]
    found += [fish_option(option, main) for option in MAIN]
    found += [
        f"complete -c koi-runtime -n {main} -a {one.name} {fish_text(one.summary)}"
        for one in COMMANDS
    ]
    found += [fish_argument(argument, names) for argument, names in by_argument().items()]
    found += [
        fish_option(option, f"'__koi_runtime_has_command {one.name}'")
        for one in COMMANDS
        for option in one.options
    ]
    return {
        "VALUED": " ".join(f"{option.name}=" for option in VALUED),
        "SCOPES": "|".join(SCOPES),
        "COMPLETIONS": "\n".join(found),
    }


def fish_quoted(text: str) -> str:
    return "'" + re.sub(r"([\\'])", r"\\\1", text) + "'"


def fish_text(text: str) -> str:
    """Return the option of ``complete`` for a description, which begins with a capital."""
    return f"-d {fish_quoted(text[0].upper() + text[1:])}"


def fish_option(option: Option, condition: str = "") -> str:
    where = f" -n {condition}" if condition else ""
    flags = "".join(
        f" -l {flag[2:]}" if flag.startswith("--") else f" -s {flag[1:]}" for flag in option.flags
    )
    return f"complete -c koi-runtime{where}{flags}{fish_values(option)} {fish_text(option.help)}"


def fish_values(option: Option) -> str:
    if not option.metavar:
        return ""
    words = plain(option.words)
    return f" -x -a '(__fish_append , {words})'" if option.several else f" -x -a '{words}'"


def fish_argument(argument: Argument, names: Iterable[str]) -> str:
    condition = "has_only_command" if argument.nargs == "?" else "has_command"
    kind = {Source.INSTANCES: "Instance", Source.BACKENDS: "Backend"}[argument.source]
    return (
        f"complete -c koi-runtime -n '__koi_runtime_{condition} {plain(names)}'"
        f" -a '(__koi_runtime_{argument.source})' -d {kind}"
    )


if __name__ == "__main__":
    main()
