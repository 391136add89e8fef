"""koi-runtime.conf(5) has one paragraph for each key, in its section and with its default."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from koi_agent.config import BACKENDS, KEYS, Key
from tests.namespaces import CHECKOUT

PAGE = CHECKOUT / "packaging/man/koi-runtime.conf.5.scd"
EMPTY = "the empty string"


def plain(text: str) -> str:
    """Return the text of scdoc source: without marks and backslashes, on one line."""
    return " ".join(re.sub(r"\\(.)|[*_]", lambda found: found[1] or "", text).split())


def paragraphs(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield section, key and text of each paragraph about a key."""
    for part in re.split(r"^# ", page, flags=re.MULTILINE):
        title = re.match(r"\[(\w+)\] SECTION\n", part)
        for name, text in re.findall(r"^\*(\w+)=\*\n((?:\t.*\n)+)", part, re.MULTILINE):
            yield title[1] if title else "", name, plain(text)


def complaints(keys: Sequence[Key], page: str) -> list[str]:
    """Return in which keys and defaults a page differs from a table of keys."""
    found = {(title, name): text for title, name, text in paragraphs(page)}
    known = {(key.section.upper(), key.name): key for key in keys}
    wrong = [f"[{title}] {name}=: no such key" for title, name in found.keys() - known.keys()]
    for place, key in known.items():
        default = f" Defaults to {key.default or EMPTY}."
        text = found.get(place, "")
        if text.count(" Defaults to ") != 1 or not text.endswith(default):
            wrong.append(f"[{key.section}] {key.name}=: the paragraph does not end in{default}")
    return wrong


def test_the_manual_has_each_key_in_its_section_with_its_default() -> None:
    assert complaints(KEYS, PAGE.read_text()) == []


@pytest.mark.parametrize("changed", KEYS, ids=lambda key: f"{key.section}.{key.name}")
def test_another_default_or_section_in_the_manual_is_found(changed: Key) -> None:
    page = PAGE.read_text()
    for other in (
        replace(changed, default=f"{changed.default}1"),
        replace(changed, default="auto" if changed.default != "auto" else "off"),
        replace(changed, section="Other"),
        replace(changed, name="Other"),
    ):
        keys = [other if key is changed else key for key in KEYS]
        assert any(f"{other.name}=: the paragraph" in text for text in complaints(keys, page))
    assert complaints([key for key in KEYS if key is not changed], page) == [
        f"[{changed.section.upper()}] {changed.name}=: no such key"
    ]


def test_the_manual_lists_all_backends() -> None:
    listed = {(title, name): text for title, name, text in paragraphs(PAGE.read_text())}
    assert all(re.search(rf"\b{name}\b", listed["RUNTIME", "Backends"]) for name in BACKENDS)
