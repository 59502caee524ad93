# SPDX-License-Identifier: GPL-2.0-only
"""Numbers and texts of a profile that are computed when a step is executed."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vfio_compliance.profiles.expressions import FileText, Filled, number, parse

KNOWN = {"$iova": 0x1_2345_6000, "$length": 4096, "$tail": 7}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$iova", 0x1_2345_6000),
        ("$iova >> 32", 1),
        ("$iova & 0xffffffff", 0x2345_6000),
        ("($tail + 1) % 8", 0),
        ("$tail * 16 + 0x100", 0x170),
        ("$length // 512 - 1", 7),
        ("~$tail & 0xff", 0xF8),
        ("$tail ^ 1 | 0x80", 0x86),
        ("-$tail", -7),
        ("1 << 4", 16),
        ("  $tail", 7),
    ],
)
def test_value_of_an_expression(text: str, value: int) -> None:
    assert number(parse(text), KNOWN) == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("$iova / 2", "`/` gives fractions"),
        ("iova + 1", "`iova` is not a number"),
        ("v_iova + 1", "`v_iova` is not a number"),
        ("$iova +", "is not an expression"),
        ("$iova ** 2", "nothing else"),
        ("$iova if 1 else 2", "nothing else"),
        ("$iova.bit_length()", "nothing else"),
        ("__import__('os')", "nothing else"),
        ("[$iova]", "nothing else"),
        ("$iova < 1", "nothing else"),
        ("$iova and 1", "nothing else"),
        ("$iova + 1.5", "not a whole number"),
        ("$iova + True", "not a whole number"),
        ("$iova + 'a'", "not a whole number"),
        ("$iova + 0x10000000000000000", "not a whole number"),
        ("$Iova", "is not an expression"),
        ("$iova" + " + 1" * 60, "more than 200"),
    ],
)
def test_other_texts_are_refused(text: str, complaint: str) -> None:
    """With a reason."""
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse(text)


@pytest.mark.parametrize("text", ["(" * 90 + "1" + ")" * 90 + " + $iova", "-" * 150 + "$iova"], ids=["deep", "signs"])
def test_deep_expressions_do_no_harm(text: str) -> None:
    """They may be accepted or refused."""
    found = None
    with contextlib.suppress(ValueError):
        found = parse(text)
    assert found is None or isinstance(number(found, KNOWN), int)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1 // ($tail - 7)", "divides by zero"),
        ("$tail % ($tail - 7)", "divides by zero"),
        ("1 << $length", "a shift by 4096"),
        ("1 >> -$tail", "a shift by -7"),
    ],
)
def test_expressions_without_a_value(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        number(parse(text), KNOWN)


LEAVES = st.one_of(st.integers(0, 2**64 - 1).map(str), st.sampled_from(sorted(KNOWN)))
OPERATORS = st.sampled_from(["+", "-", "*", "&", "|", "^"])
EXPRESSIONS = st.recursive(
    LEAVES, lambda inner: st.tuples(inner, OPERATORS, inner).map(lambda it: f"({' '.join(it)})"), max_leaves=6
)


@settings(database=None)
@given(EXPRESSIONS)
def test_python_agrees_on_any_expression(text: str) -> None:
    expected = text
    for name, value in KNOWN.items():
        expected = expected.replace(name, str(value))
    if len(text) <= 200:
        assert number(parse(text), KNOWN) == eval(expected)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("pin {$iova:#x} {$length}", "pin 0x123456000 4096"),
        ("{$iova >> 12:08x}", "00123456"),
        ("{$tail:X}{$tail + 8:x}", "7f"),
        ("nothing", "nothing"),
        ("", ""),
    ],
)
def test_numbers_are_filled_into_a_text(text: str, filled: str) -> None:
    assert parsed(text).fill(KNOWN) == filled


@pytest.mark.parametrize("text", ["{", "}", "{}", "{$iova", "a}b", "{$iova:s}", "{$iova:99999d}", "{{$iova}}"])
def test_a_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="`"):
        parsed(text)


def parsed(text: str) -> Filled:
    """A text of a profile, parsed."""
    from yaml.nodes import ScalarNode

    from vfio_compliance.profiles.document import STRING, Document

    filled: Filled = FileText().parse(ScalarNode(STRING, text, style='"'), Document("a"))
    return filled
