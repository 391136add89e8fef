"""Lines and array elements of a stream, however it is cut into pieces."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.core.json_stream import ArrayDecoder, LineSplitter, StreamError


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def decode(body: bytes, size: int, limit: int = 100_000, member: str = "") -> list[object]:
    decoder = ArrayDecoder(limit, member)
    found = [element for piece in pieces(body, size) for element in decoder.feed(piece)]
    return [*found, *decoder.close()]


def split(body: bytes, size: int, limit: int = 100_000) -> list[bytes]:
    splitter = LineSplitter(limit)
    found = [line for piece in pieces(body, size) for line in splitter.feed(piece)]
    splitter.close()
    return found


@given(
    st.lists(
        st.dictionaries(st.text(max_size=3), st.text(max_size=5) | st.integers(), max_size=2)
        | st.integers()
        | st.floats(allow_nan=False)
    ),
    st.integers(1, 40),
)
def test_an_array_is_decoded_whole_however_it_is_cut(value: list[object], size: int) -> None:
    for text in (
        json.dumps(value),
        f" {json.dumps(value)}\n",
        json.dumps(value, ensure_ascii=False),
    ):
        body = text.encode(errors="replace")
        assert decode(body, size) == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1", b"{}", b"nothing", b"[1]x", b"[1] [2]", b"[" * 5000, b'["a]', b"<html>"],
)
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_anything_but_an_array_is_an_error(body: bytes, size: int) -> None:
    with pytest.raises(StreamError):
        decode(body, size)


@given(
    st.dictionaries(st.text(max_size=3), st.text(max_size=5) | st.integers() | st.none()),
    st.lists(st.text(max_size=5) | st.integers() | st.lists(st.booleans(), max_size=2)),
    st.dictionaries(st.text(max_size=3), st.lists(st.integers(), max_size=2)),
    st.integers(1, 40),
    st.sampled_from([None, 0, 1]),
)
def test_an_array_in_an_object_is_decoded_whole_however_it_is_cut(
    before: dict[str, object],
    value: list[object],
    after: dict[str, object],
    size: int,
    indent: int | None,
) -> None:
    whole = {"before": before} | before | {"elements": value} | {"after": after}
    for body in (json.dumps(whole, indent=indent), json.dumps(whole, separators=(",", ":"))):
        assert decode(f" {body}\n".encode(), size, member="elements") == value


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[1]", b"null", b"{}", b"<html>", b'{"m"', b'{"m":', b'{"m":null}'),
        *(b'{"m":{}}', b'{"m":[1', b'{"m":[1]', b'{"m":[1]]', b'{"m":[1]}}', b'{"m":[1],"a"}'),
        *(b'{"a":{"m":[1]}}', b'{"a":' * 5000, b"[" * 5000),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_anything_but_an_object_with_the_array_is_an_error(body: bytes, size: int) -> None:
    with pytest.raises(StreamError):
        decode(body, size, member="m")


def test_a_long_text_before_the_array_is_an_error() -> None:
    decoder = ArrayDecoder(100_000, "m")
    assert [*decoder.feed(b'{"a":"')] == []
    with pytest.raises(StreamError, match="an array m"):
        [*decoder.feed(b"x" * 70_000)]


def test_null_is_an_empty_array() -> None:
    assert decode(b"null\n", 3) == []


def test_bytes_that_are_not_utf_8_cost_only_their_text() -> None:
    assert decode(b'[{"a": "\xff", "b": 1}]', 4) == [{"a": "\ufffd", "b": 1}]


def test_an_element_beyond_the_limit_is_an_error_before_it_ends() -> None:
    decoder = ArrayDecoder(100)
    assert [*decoder.feed(b'[1,"')] == [1]
    assert [*decoder.feed(b"a" * 90)] == []
    with pytest.raises(StreamError, match="longer than 100 characters"):
        [*decoder.feed(b"a" * 50)]


def test_an_incomplete_element_is_not_parsed_with_every_piece() -> None:
    text = '"' + "a" * 20_000 + '"'
    assert decode(f"[{text}]".encode(), 7) == [json.loads(text)]


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line)), st.integers(1, 40))
def test_lines_are_split_however_the_stream_is_cut(lines: list[bytes], size: int) -> None:
    body = b"".join(line + b"\n" for line in lines)
    assert split(body, size) == lines


@pytest.mark.parametrize("size", [1, 4, 7, 10_000])
def test_a_line_beyond_the_limit_comes_as_an_empty_one(size: int) -> None:
    assert split(b"first\n" + b"a" * 500 + b"\nlast\n", size, limit=10) == [b"first", b"", b"last"]


def test_a_stream_that_ends_within_a_line_is_an_error() -> None:
    assert split(b"a\n  ", 3) == [b"a"]
    with pytest.raises(StreamError):
        split(b"a\nb", 3)
    with pytest.raises(StreamError):
        split(b"a" * 20, 3, limit=10)
