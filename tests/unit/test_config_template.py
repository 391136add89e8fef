"""The shipped koi-runtime.conf is the one that the settings describe."""

from koi_agent.config import KEYS
from koi_agent.config.template import template
from koi_agent.core.unit_file.syntax import parse
from tests.namespaces import CHECKOUT

SHIPPED = CHECKOUT / "packaging/koi-runtime.conf"


def test_the_shipped_file_is_up_to_date() -> None:
    assert SHIPPED.read_text() == template(), "run make settings"


def test_each_key_is_commented_out_with_its_default() -> None:
    text = template()
    assert parse(text.encode()).entries == ()
    lines = [line.removeprefix("#") for line in text.splitlines() if not line.startswith("# ")]
    entries = parse("\n".join(lines).encode()).entries
    assert [(entry.section, entry.key, entry.value) for entry in entries] == [
        (key.section, key.name, key.default) for key in KEYS
    ]


def test_each_key_has_a_sentence_as_its_comment() -> None:
    assert [key.name for key in KEYS if not key.comment.endswith(".")] == []
