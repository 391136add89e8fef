"""The merged files of a unit, and what a bad file costs."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.backends.systemd.file_contents import MAX_SIZE
from koi_agent.backends.systemd.merged_file import UnitFile
from koi_agent.backends.systemd.unit_files import UnitFileReader
from koi_agent.core.instance import KoiMetadata
from koi_agent.core.metadata.parser import from_unit_keys
from koi_agent.host.identity import specifiers

SPECIFIERS = specifiers("system", {})

Write = Callable[..., list[str]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*texts: str) -> list[str]:
        paths = [tmp_path / f"{number}.conf" for number in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        return [str(path) for path in paths]

    return write


def read(paths: list[str], name: str = "web.service") -> UnitFile:
    return UnitFileReader(SPECIFIERS).read(name, paths[0], paths[1:])


def test_only_our_keys_are_used(write: Write) -> None:
    text = """
[Unit]
Description=secret
X-Koi-Name=Web
[Service]
ExecStart=/bin/true
Environment=PASSWORD=hush
X-Other=no
[X-Koi]
Type=_http._tcp
[X-Other]
Type=no
"""
    assert read(write(text)) == UnitFile(
        assignments=(("Unit", "X-Koi-Name", "Web"), ("X-Koi", "Type", "_http._tcp")),
    )


@pytest.mark.parametrize("line", ["[Unit]\nX-Koi-Enable", "[X-Koi]\nEnable no", "[x-koi]\nenable"])
def test_a_switch_without_a_value_opts_out(write: Write, line: str) -> None:
    file = read(write("[X-Koi]\nAnnounce=web\n" + line))
    assert from_unit_keys(file.assignments, {}).enable is False
    assert any("has no =" in problem for problem in file.problems)


def test_drop_ins_follow_the_fragment_and_resets_stay(write: Write) -> None:
    paths = write("[Unit]\nX-Koi-Name=a", "[Service]\nX-Koi-Name=", "[Unit]\nX-Koi-Name=b")
    assert read(paths).assignments == (
        ("Unit", "X-Koi-Name", "a"),
        ("Service", "X-Koi-Name", ""),
        ("Unit", "X-Koi-Name", "b"),
    )


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ("Environment=KOI_MDNS_ANNOUNCE=_http._tcp:80 A=b", "_http._tcp:80"),
        ('Environment=A=b "KOI_MDNS_ANNOUNCE=a b"', "a b"),
        ("Environment=KOI_MDNS_ANNOUNCE=1\nEnvironment=KOI_MDNS_ANNOUNCE=2", "2"),
        ("Environment=KOI_MDNS_ANNOUNCE=1\nEnvironment=A=b", "1"),
        ("Environment=KOI_MDNS_ANNOUNCE=%p", "web"),
        ("Environment=KOI_MDNS_ANNOUNCE=1\nEnvironment=", None),
        ("Environment=KOI_MDNS_ANNOUNCE", None),
        (r"Environment=KOI_MDNS_ANNOUNCE=\xff", None),
        ("Environment=XKOI_MDNS_ANNOUNCE=1", None),
    ],
)
def test_only_one_variable_of_the_environment_is_used(
    write: Write, lines: str, value: str | None
) -> None:
    file = read(write(f"[Service]\n{lines}\n"))
    assert file.environment == (() if value is None else (("KOI_MDNS_ANNOUNCE", value),))
    assert file.problems == ()


def test_environment_with_an_open_quote_keeps_the_words_before(write: Write) -> None:
    file = read(write('[Service]\nEnvironment=KOI_MDNS_ANNOUNCE=1 "A=b\n'))
    assert file.environment == (("KOI_MDNS_ANNOUNCE", "1"),)
    assert [problem.split(".conf:")[1] for problem in file.problems] == [
        "2: Environment=: a quote is left open"
    ]


def test_environment_of_another_section_is_not_the_services(write: Write) -> None:
    assert read(write("[Socket]\nEnvironment=KOI_MDNS_ANNOUNCE=1\n")).environment == ()


@pytest.mark.parametrize("section", ["X-Container", "X-Pod", "X-Kube"])
def test_unit_with_a_section_of_quadlet_is_from_quadlet(write: Write, section: str) -> None:
    assert read(write(f"[{section}]\nImage=x\n[Service]\n")).from_quadlet


def test_other_units_are_not_from_quadlet(write: Write) -> None:
    assert not read(write("[Container]\n[Service]\n")).from_quadlet


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("PrivateNetwork=yes", True),
        ("PrivateNetwork=True", True),
        ("PrivateNetwork=yes\nPrivateNetwork=no", False),
        ("PrivateNetwork=yes\nPrivateNetwork=maybe", True),
        ("PrivateNetwork=no", False),
        ("NetworkNamespacePath=/run/netns/a", True),
        ("NetworkNamespacePath=/run/netns/a\nNetworkNamespacePath=", False),
        ("NetworkNamespacePath=%t/netns/a", True),
        ("NetworkNamespacePath=relative", False),
        ("", False),
    ],
)
def test_service_with_a_network_namespace_of_its_own(
    write: Write, lines: str, *, expected: bool
) -> None:
    assert read(write(f"[Service]\n{lines}\n")).private_network is expected


def test_specifiers_in_values_are_expanded_for_each_unit(write: Write) -> None:
    reader = UnitFileReader(SPECIFIERS)
    (path,) = write("[Unit]\nX-Koi-Txt-%i=%p %i\n")
    for instance in ("a", "b"):
        file = reader.read(f"web@{instance}.service", path)
        assert file.assignments == (("Unit", "X-Koi-Txt-%i", f"web {instance}"),)


def metadata(file: UnitFile) -> KoiMetadata:
    return from_unit_keys(file.assignments, dict(file.environment), dict(file.refused))


def test_specifiers_of_the_host_are_expanded(write: Write) -> None:
    letters = "aAbBCdDEgGhHlLmMoqsStTuUvVwWyY"
    paths = write("[Unit]\nX-Koi-Announce=%l-wiki\n")
    assert metadata(read(paths)).name == socket.gethostname().partition(".")[0] + "-wiki"
    lines = "".join(f"X-Koi-Txt-{letter}{letter.isupper():d}=%{letter}\n" for letter in letters)
    found = dict(metadata(read(write("[Unit]\n" + lines))).txt)
    assert not any("%" in value for value in found.values())
    assert found["H1"] == socket.gethostname()
    assert found["v0"] == os.uname().release
    assert found["Y1"] == str(Path(paths[0]).parent)


@pytest.mark.parametrize("letter", "cFkKQrRxXzZ")
def test_a_value_with_another_specifier_is_refused_and_not_used_literally(
    write: Write, letter: str
) -> None:
    lines = f"[X-Koi]\nName=before\nName=a%{letter}\nAnnounce=web-%{letter}\nPort=%{letter}\n"
    found = metadata(read(write(lines)))
    assert (found.name, found.enable, found.port) == ("before", None, None)
    assert [one.key for one in found.refused] == [
        f"[X-Koi] {key}" for key in ("Name", "Announce", "Port")
    ]
    assert all(f"%{letter} can't be expanded" in one.reason for one in found.refused)
    assert "0.conf:3" in found.refused[0].reason


def test_a_switch_with_another_specifier_counts_as_no(write: Write) -> None:
    lines = "[X-Koi]\nAnnounce=web\nEnable=yes\nEnable=%x\n"
    assert metadata(read(write(lines))).enable is False


def test_a_variable_with_another_specifier_is_not_used(write: Write) -> None:
    lines = "Environment=KOI_MDNS_ANNOUNCE=a\nEnvironment=KOI_MDNS_ANNOUNCE=%x-wiki\n"
    file = read(write(f"[Service]\n{lines}"))
    assert file.environment == ()
    assert "%x can't be expanded" in file.problems[0]


def test_line_of_ours_without_an_equals_sign_is_reported(write: Write) -> None:
    file = read(write("[Unit]\nExecStart\nX-Koi-Enable yes\n[X-Koi]\nEnable\n"))
    assert [problem.split(".conf:")[1] for problem in file.problems] == [
        "3: has no =: ignored",
        "5: has no =: ignored",
    ]


def test_problems_are_few_and_carry_no_control_characters(write: Write) -> None:
    file = read(write("[X-Koi]\n" + "".join(f"\x1b[31m{n}\n" for n in range(1000))))
    assert 0 < len(file.problems) <= 8
    assert all(problem.isprintable() for problem in file.problems)


def costs(path: Path, reason: str) -> None:
    """Check that a bad file costs its unit all metadata, for a reason."""
    good = path.with_name("good.conf")
    good.write_text("[X-Container]\n[Service]\nX-Koi-Name=a\nEnvironment=KOI_MDNS_ANNOUNCE=1\n")
    file = UnitFileReader(SPECIFIERS).read("web.service", str(good), [str(path)])
    assert (file.assignments, file.environment, file.from_quadlet) == ((), (), True)
    (problem,) = file.problems
    assert problem.startswith(f"{path}: ")
    assert reason in problem
    assert problem.endswith("; web.service gets no metadata from files")


def test_missing_file_costs_the_metadata(tmp_path: Path) -> None:
    costs(tmp_path / "none.conf", "No such file")


def test_symlink_loop_costs_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "loop.conf"
    path.symlink_to(path)
    costs(path, "symbolic links")


def test_folder_costs_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "folder.conf"
    path.mkdir()
    costs(path, "not a regular file")


def test_fifo_costs_the_metadata_and_no_time(tmp_path: Path) -> None:
    path = tmp_path / "fifo.conf"
    os.mkfifo(path)
    costs(path, "not a regular file")


def test_large_file_costs_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "large.conf"
    path.write_bytes(b"#" * (MAX_SIZE + 1))
    costs(path, "larger than 64 KiB")


def test_file_without_a_size_is_bounded_too(tmp_path: Path) -> None:
    path = tmp_path / "proc.conf"
    path.symlink_to("/proc/kallsyms")
    costs(path, "larger than 64 KiB")


def test_file_that_is_not_utf8_costs_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "latin.conf"
    path.write_bytes(b"[Unit]\nDescription=caf\xe9\n")
    costs(path, "line 2 is not UTF-8")


def test_path_with_a_nul_costs_the_metadata() -> None:
    assert "not a path" in UnitFileReader(SPECIFIERS).read("web.service", "/a\0b").problems[0]


def test_unreadable_file_costs_the_metadata(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        path = tmp_path / "shut.conf"
        path.touch(mode=0)
        costs(path, "Permission denied")
        return
    path = tmp_path / "shut.conf"
    path.touch(mode=0)
    path.with_name("good.conf").touch()
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        file = UnitFileReader(SPECIFIERS).read("web.service", str(path))
    finally:
        os.seteuid(0)
    assert "Permission denied" in file.problems[0]


def test_largest_file_is_read(write: Write) -> None:
    line = "[X-Koi]\nName=a\n"
    assert read(write(line + "#" * (MAX_SIZE - len(line)))).assignments


def test_masked_unit_and_empty_paths_contain_nothing(tmp_path: Path) -> None:
    (tmp_path / "web.service").symlink_to("/dev/null")
    assert (
        UnitFileReader(SPECIFIERS).read("web.service", str(tmp_path / "web.service"), [""])
        == UnitFile()
    )


def test_symlinks_are_followed(write: Write, tmp_path: Path) -> None:
    (target,) = write("[X-Koi]\nName=a\n")
    (tmp_path / "linked.service").symlink_to(target)
    assert read([str(tmp_path / "linked.service")]).assignments


@given(data=st.binary(max_size=300))
def test_no_file_raises(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.conf"
    path.write_bytes(data)
    UnitFileReader(SPECIFIERS).read("web@a.service", str(path), [str(path)])


LINES = st.lists(
    st.sampled_from(
        [
            "X-Koi-Name=a",
            "X-Koi-Name=",
            "X-Koi-Txt-a=b %i",
            "Environment=KOI_MDNS_ANNOUNCE=1",
            "Environment=",
            "PrivateNetwork=yes",
            "PrivateNetwork=no",
            "NetworkNamespacePath=/a",
            "NetworkNamespacePath=",
            "# comment",
            "",
        ]
    ),
    max_size=12,
)


@given(before=LINES, after=LINES)
def test_file_split_into_drop_ins_is_read_alike(
    before: list[str], after: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    texts = {"whole": [*before, *after], "first": before, "second": after}
    for name, lines in texts.items():
        (folder / name).write_text("\n".join(["[Service]", *lines]))
    whole = UnitFileReader(SPECIFIERS).read("a@b.service", str(folder / "whole"))
    split = UnitFileReader(SPECIFIERS).read(
        "a@b.service", str(folder / "first"), [str(folder / "second")]
    )
    assert whole == split


@pytest.mark.parametrize(
    ("text", "notifies"),
    [
        ("Type=notify\n", True),
        ("Type=notify-reload\n", True),
        ("Type=dbus\nBusName=a.b\n", True),
        ("BusName=a.b\n", True),
        ("Type=simple\nBusName=a.b\n", False),
        ("Type=notify\nType=exec\n", False),
        ("Type=notify\nType=\n", False),
        ("", False),
    ],
)
def test_service_that_reports_when_it_is_ready(write: Write, text: str, *, notifies: bool) -> None:
    assert read(write(f"[Service]\n{text}")).notifies_ready is notifies
