"""The generated completions, in real shells, compared with the command's own parser."""

import os
import subprocess
import sys
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from koi_agent.cli.parser import parser
from koi_agent.config import ACCEPTED
from koi_agent.core.instance import InstanceState
from koi_agent.core.message_ids import LEVELS
from tests.conftest import require

CHECKOUT = Path(__file__).parents[2]
FILES = {"bash": "bash/koi-runtime", "zsh": "zsh/_koi-runtime", "fish": "fish/koi-runtime.fish"}
PARSER = parser()
JSON = ("pretty", "short", "off")

# Each shell completes at the end of every given line, and prints one line with the words.
BASH = """\
set -eu
source "$0"
[[ $(complete -p koi-runtime) == *'-F _koi_runtime '* ]]
COMP_WORDBREAKS=${BREAKS:-$COMP_WORDBREAKS}
for COMP_LINE; do
    COMP_POINT=${#COMP_LINE}
    _koi_runtime koi-runtime
    echo "${COMPREPLY[*]}"
done
"""
# Zsh completes only at a terminal. All that fits is put into the line, and listed below it.
ZSH = "zmodload zsh/zpty; zpty terminal zsh -di; while zpty -r terminal; do :; done"
ZSHRC = """\
fpath=(HERE $fpath)
autoload -Uz compinit
compinit -D -u
offer() {
    _main_complete
    compstate[insert]=all compstate[list]='list force'
}
zle -C offer complete-word offer
zle-line-init() {
    for BUFFER in ${(f)TYPED}; do
        CURSOR=$#BUFFER
        zle offer
        zle -R
        print -r -- $BUFFER >>$ZDOTDIR/completed
    done
    exit
}
zle -N zle-line-init
"""
FISH = r"""
set fish_complete_path (dirname $argv[1])
for line in $argv[2..]
    echo (complete --escape -C $line | string replace --regex '\t.*' '')
end
"""
AGENT = """\
#!/bin/bash
echo "$*" >>"$0.asked"
case $1 in
    list) cat "$0.instances" ;;
    show) printf '%s\\n' "${@:2}" ;;
    status) printf '%s\\n' "● koi-runtime" "  State: running" "Instances: 2" "" "docker synced" \
        "systemd synced" "" "podman: podman.socket is not active" ;;
esac
"""
HOSTILE = {
    "expands": ("$(pwn)", "`pwn`", "$HOME", "${HOME}", "*", "{a,b}", "=ls", "~root", "%F{red}"),
    "breaks": (
        *("it's", 'say"', "$(touch", "(pwn)", "<(pwn)", ";pwn", "|pwn", "&pwn", "#comment", "!!"),
        *(r"back\slash", r"\x1b", "\x1b]0;mine\x07", "a:b", "wörld"),
    ),
}
"""Names as they must come through; those with a space are not offered.

What breaks a shell's syntax is apart: nothing is expanded where it is broken.
"""
Complete = Callable[[Sequence[str], Path], Sequence[Sequence[str]]]


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the completions, as a package generates them."""
    folder = tmp_path_factory.mktemp("completion")
    # Without site-packages: where packages are built, the agent's libraries are not installed.
    script = CHECKOUT / "packaging/completion/generate.py"
    command = [sys.executable, "-S", "-B", str(script), str(folder)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(CHECKOUT)})
    return folder


@pytest.fixture
def home(tmp_path: Path, generated: Path) -> Path:
    """A folder with the completions, an agent to ask, and a program that nothing may run."""
    tmp_path.joinpath("completion").symlink_to(generated)
    for name, text in (("koi-runtime", AGENT), ("pwn", "#!/bin/sh\ntouch $0ed\n")):
        tmp_path.joinpath(name).write_text(text)
        tmp_path.joinpath(name).chmod(0o755)
    instances(tmp_path, "web", "web-2", "wild west")
    return tmp_path


def instances(home: Path, *rows: str) -> None:
    home.joinpath("koi-runtime.instances").write_text("".join(f"{row}\n" for row in rows))


def file(home: Path, shell: str) -> Path:
    return home / "completion" / FILES[shell]


def run(home: Path, *command: str | Path, **env: str) -> str:
    """Run a shell in a home of its own; returns what it writes."""
    own = {"HOME": str(home), "ZDOTDIR": str(home), "PATH": f"{home}:{os.environ['PATH']}"}
    own |= {"TERM": "dumb", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            command,
            env=os.environ | own | env,
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        require(str(command[0]), "not installed")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def bash(lines: Sequence[str], home: Path, breaks: str = " ") -> Sequence[Sequence[str]]:
    done = run(home, "bash", "--norc", "-c", BASH, file(home, "bash"), *lines, BREAKS=breaks)
    return [line.split() for line in done.splitlines()]


def zsh(lines: Sequence[str], home: Path) -> Sequence[Sequence[str]]:
    home.joinpath(".zshrc").write_text(ZSHRC.replace("HERE", str(file(home, "zsh").parent)))
    shown = run(home, "zsh", "-dfc", ZSH, TYPED="\n".join(lines))
    assert "\x1b]" not in shown  # a name has got through to the terminal
    made = home.joinpath("completed").read_text().split("\n")[:-1]
    return [_added(*both) for both in zip(lines, made, strict=True)]


def _added(typed: str, made: str) -> Sequence[str]:
    """Return the words added to a line; zsh offers options if nothing else fits."""
    before, _, word = typed.rpartition(" ")
    words = made.removeprefix(before).split() if made != typed else []
    return [new.rstrip(",") for new in words if word.startswith("-") or not new.startswith("-")]


def fish(lines: Sequence[str], home: Path) -> Sequence[Sequence[str]]:
    done = run(home, "fish", "--no-config", "-c", FISH, file(home, "fish"), *lines)
    return [line.split() for line in done.splitlines()]


@pytest.fixture(params=[bash, zsh, fish])
def complete(request: pytest.FixtureRequest) -> Complete:
    shell: Complete = request.param
    return shell


def offered(complete: Complete, home: Path, *lines: str) -> Sequence[Sequence[str]]:
    """Return the words offered for each line, sorted: each shell has its own order."""
    return [sorted(words) for words in complete(lines, home)]


def subcommands() -> Mapping[str, ArgumentParser]:
    (rows,) = (a for a in PARSER._actions if isinstance(a, _SubParsersAction))
    return dict(rows.choices)


def options(of: ArgumentParser) -> Iterator[str]:
    """Yield the options of a parser, with = after those that take a value."""
    for action in of._actions:
        for option in action.option_strings:
            yield f"{option}=" if action.nargs is None else option


def test_every_command_is_offered_and_no_other(complete: Complete, home: Path) -> None:
    assert offered(complete, home, "koi-runtime ", "koi-runtime --json short --user re") == [
        sorted(subcommands()),
        ["reload", "resync"],
    ]


def test_every_option_is_offered_where_it_is_taken_and_no_other(
    complete: Complete, home: Path
) -> None:
    parsers = {"": PARSER, **subcommands()}
    found = offered(complete, home, *(f"koi-runtime {command} -" for command in parsers))
    for command, words in zip(parsers, found, strict=True):
        wanted = sorted(option.rstrip("=") for option in options(parsers[command]))
        assert (command, [word.rstrip("=") for word in words]) == (command, wanted)


def test_bash_goes_on_to_the_value_of_an_option_that_takes_one(home: Path) -> None:
    assert offered(bash, home, "koi-runtime run -") == [sorted(options(subcommands()["run"]))]


VALUES: Mapping[str, Iterable[str]] = {
    "koi-runtime --json ": JSON,
    "koi-runtime --json=": [f"--json={mode}" for mode in JSON],
    "koi-runtime list --json=p": ["--json=pretty"],
    "koi-runtime run --log-level ": LEVELS,
    "koi-runtime run --log-level=": [f"--log-level={level}" for level in LEVELS],
    "koi-runtime --user run --runtime ": ACCEPTED,
    "koi-runtime run --runtime=": [f"--runtime={name}" for name in ACCEPTED],
    "koi-runtime run --runtime=docker,s": ["--runtime=docker,systemd"],
    "koi-runtime run --runtime docker,s": ["docker,systemd"],
    "koi-runtime run --no-runtime=": [],
    "koi-runtime list ": ["web", "web-2"],
    "koi-runtime list --state=": [f"--state={state}" for state in InstanceState],
    "koi-runtime list --columns name,st": ["name,state"],
    "koi-runtime show run --runtim": [],
}


def test_values_are_those_that_are_accepted(complete: Complete, home: Path) -> None:
    found = offered(complete, home, *VALUES)
    assert dict(zip(VALUES, found, strict=True)) == {
        line: sorted(values) for line, values in VALUES.items()
    }


@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("koi-runtime --json=s", ["short"]),
        ("koi-runtime run --runtime=docker,s", ["docker,systemd"]),
    ],
)
def test_where_bash_breaks_words_the_rest_of_the_word_is_offered(
    line: str, rest: list[str], home: Path
) -> None:
    assert bash([line], home, breaks="") == [rest]


def test_instances_are_offered_by_name(complete: Complete, home: Path) -> None:
    lines = ("koi-runtime show w", "koi-runtime explain db w", "koi-runtime show list web-")
    assert offered(complete, home, *lines) == [["web", "web-2"], ["web", "web-2"], ["web-2"]]


def test_the_agent_that_is_meant_is_asked(complete: Complete, home: Path) -> None:
    given = ["show ", "--user show ", "--user resync --json off --system "]
    complete([f"koi-runtime {words}" for words in given], home)
    assert (home / "koi-runtime.asked").read_text().splitlines() == [
        "list -q --columns=name,announced",
        "list -q --columns=name,announced --user",
        "status --no-legend --system",
    ]


@pytest.mark.parametrize("names", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_name_is_never_run_and_comes_to_the_command_as_it_is(
    names: Sequence[str], complete: Complete, home: Path
) -> None:
    instances(home, *names, *(f"{name} pwned)" for name in names))
    found, _ = complete(["koi-runtime show ", "koi-runtime show $(pwn) `pwn` "], home)
    said = run(home, complete.__name__, "-c", f"koi-runtime show {' '.join(found)}")
    left_out = {"~root"} if complete is fish else set()  # which leaves a tilde as it is
    assert set(said.splitlines()) == {*names} - left_out
    assert not (home / "pwned").exists()


def test_the_backends_of_the_agent_are_offered_once(complete: Complete, home: Path) -> None:
    given = [" ", " --json=short s", " docker ", " --json off "]
    assert offered(complete, home, *(f"koi-runtime resync{words}" for words in given)) == [
        ["docker", "systemd"],
        ["systemd"],
        [],
        ["docker", "systemd"],
    ]


@pytest.mark.parametrize("program", ["exit 1", "echo broken >&2; exit 1", "sleep 9"])
def test_an_agent_that_is_not_there_is_no_noise(
    program: str, complete: Complete, home: Path
) -> None:
    (home / "koi-runtime").write_text(f"#!/bin/bash\n{program}\n")
    assert offered(complete, home, "koi-runtime show ") == [[]]


@pytest.mark.parametrize(
    ("checker", "of"), [("shellcheck", "bash"), ("zsh -n", "zsh"), ("fish --no-execute", "fish")]
)
def test_it_has_no_complaint_of_a_checker(checker: str, of: str, home: Path) -> None:
    assert run(home, *checker.split(), file(home, of)) == ""
