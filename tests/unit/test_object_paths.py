"""Texts as elements of object paths, as sd_bus_path_encode(3) makes them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.bus.object_paths import decode, encode

any_text = st.text(st.characters())  # lone surrogates, controls and all


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("", "_"),
        ("_", "_5f"),
        ("a", "a"),
        ("1", "_31"),
        ("1a", "_31a"),
        ("a1", "a1"),
        ("11", "_311"),
        ("foo.service", "foo_2eservice"),
        ("docker:3f2a", "docker_3a3f2a"),
        ("systemd:worker@1.service", "systemd_3aworker_401_2eservice"),
        ("a/b", "a_2fb"),
        ("a\nb", "a_0ab"),
        ("\0", "_00"),
        ("é", "_c3_a9"),
        ("٣", "_d9_a3"),
        ("ſ", "_c5_bf"),
        ("\ud800", "_ed_a0_80"),
    ],
)
def test_label_of_a_text(text: str, label: str) -> None:
    assert encode(text) == label
    assert decode(label) == text


@pytest.mark.parametrize(
    ("label", "text"),
    [("a_", "a_"), ("_zz", "_zz"), ("_2", "_2"), ("_2E", "_2E"), ("_ff", "_ff"), ("_41", "A")],
)
def test_label_that_encode_cannot_have_made_is_kept(label: str, text: str) -> None:
    assert decode(label) == text


@given(any_text)
def test_label_is_an_element_of_a_path_and_decodes_to_its_text(text: str) -> None:
    label = encode(text)
    assert re.fullmatch("[A-Za-z0-9_]+", label)
    assert decode(label) == text


@given(any_text, any_text)
def test_different_texts_have_different_labels(one: str, other: str) -> None:
    assert (encode(one) == encode(other)) is (one == other)


@given(st.text("_0123456789abcdefAF"))
def test_any_label_can_be_decoded(label: str) -> None:
    decode(label)
