"""The credential of a Koi daemon: parsed strictly, and for its own endpoint only."""

import os
from pathlib import Path

import pytest

from koi_agent.config.koi import endpoint
from koi_agent.core.errors import BadInput
from koi_agent.host.koi_daemon.credential import (
    Credential,
    NoCredential,
    Source,
    parsed_breadcrumb,
    parsed_token,
    source_of,
)
from koi_agent.host.koi_daemon.settings import KoiSettings

HERE = "http://127.0.0.1:5641"
TOKEN = "Zm9v-_bar" * 4


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (HERE, HERE),
        (f"{HERE}/", HERE),
        ("http://localhost:5641", HERE),
        ("http://[::1]:80", "http://[::1]:80"),
        ("http://[0:0::1]:80", "http://[::1]:80"),
        ("http://127.9.8.7:1", "http://127.9.8.7:1"),
        ("", ""),
    ],
)
def test_an_endpoint_is_a_url_of_this_host(text: str, found: str) -> None:
    assert endpoint(text) == found


@pytest.mark.parametrize(
    "text",
    [
        *("https://127.0.0.1:1", "http://192.0.2.1:1", "http://example.org:1", "http://127.0.0.1"),
        *("http://127.0.0.1:0", "http://127.0.0.1:70000", "http://u:p@127.0.0.1:1", "127.0.0.1:1"),
        *("http://127.0.0.1:1/x", "http://127.0.0.1:1?x", "http://[::2]:1", "http://[fe80::1%1]:1"),
        *("http://127.1:1", "http://0x7f.1:1", "http://127.0.0.1:\udc31", "http://127.0.0.1:1\n"),
    ],
)
def test_other_endpoints_are_refused(text: str) -> None:
    with pytest.raises(BadInput) as bad:
        endpoint(text)
    assert "p@" not in str(bad.value)


def test_a_breadcrumb_has_endpoint_and_token() -> None:
    text = f" {HERE}/ \r\n dat:{TOKEN} \n\n"
    assert parsed_breadcrumb(text) == Credential(HERE, TOKEN)
    assert TOKEN not in repr(parsed_breadcrumb(text))


@pytest.mark.parametrize(
    "text",
    [
        *("", "\n", HERE, f"{HERE}\n", f"{HERE}\n{TOKEN}", f"{HERE}\ndat:", f"\ndat:{TOKEN}"),
        *(f"dat:{TOKEN}\n{HERE}", f"{HERE}\ndat:{TOKEN}\nmore", f"{HERE}\ndat:a b"),
        *(f"http://192.0.2.1:1\ndat:{TOKEN}", f"{HERE}\ndat:{'a' * 600}", f"{HERE}\ndat:a\r\rb"),
    ],
)
def test_other_breadcrumbs_are_refused_without_their_token(text: str) -> None:
    with pytest.raises(BadInput) as bad:
        parsed_breadcrumb(text)
    assert TOKEN not in str(bad.value)


@pytest.mark.parametrize("text", ["", "\n", "a\nb", "a b", "ä", "a\0"])
def test_a_token_is_one_word(text: str) -> None:
    with pytest.raises(BadInput):
        parsed_token(text)


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_token_of_a_breadcrumb_is_for_its_endpoint_only(tmp_path: Path) -> None:
    breadcrumb = written(tmp_path / "a", f"{HERE}\ndat:{TOKEN}\n")
    assert Source(breadcrumb=breadcrumb).read() == Credential(HERE, TOKEN)
    assert Source(breadcrumb=breadcrumb, endpoint=HERE).read() == Credential(HERE, TOKEN)
    with pytest.raises(NoCredential, match="TokenFile=") as refused:
        Source(breadcrumb=breadcrumb, endpoint="http://127.0.0.1:80").read()
    assert TOKEN not in str(refused.value)
    other = Source(
        breadcrumb=breadcrumb,
        endpoint="http://127.0.0.1:80",
        token_file=written(tmp_path / "b", "other\n"),
    )
    assert other.read() == Credential("http://127.0.0.1:80", "other")


def test_files_that_can_not_be_used_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    bad = {
        "pipe": "not a regular file",
        "none": "No such file",
        ".": "Is a directory",
    }
    (tmp_path / "long").write_text("a" * 5000)
    (tmp_path / "binary").write_bytes(b"\xff\n")
    (tmp_path / "empty").touch()
    bad |= {"long": "longer than 4096 bytes", "binary": "not ASCII", "empty": "it is empty"}
    for name, reason in bad.items():
        with pytest.raises(NoCredential, match=reason) as missing:
            Source(breadcrumb=str(tmp_path / name)).read()
        assert missing.value.is_absent == (name in ("none", "empty"))


def test_the_source_depends_on_scope_and_credentials(tmp_path: Path) -> None:
    written(tmp_path / "koi.token", TOKEN)
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path), "XDG_RUNTIME_DIR": "/run/user/1"}
    system, user = KoiSettings(scope="system"), KoiSettings(scope="user")
    assert source_of(system, environment) == Source(breadcrumb="/run/koi-runtime/koi/endpoint")
    assert source_of(user, environment) == Source(breadcrumb="/run/user/1/koi.endpoint")
    with pytest.raises(NoCredential, match="XDG_RUNTIME_DIR"):
        source_of(user, {}).read()
    here = KoiSettings(scope="system", endpoint=HERE)
    assert source_of(here, environment).read() == Credential(HERE, TOKEN)
    named = KoiSettings(scope="system", endpoint=HERE, token_file="/t")
    assert source_of(named, environment).token_file == "/t"
