# SPDX-License-Identifier: GPL-2.0-only
"""Suggestions for an unknown word."""

from __future__ import annotations

from collections.abc import Iterable

from .words import enumerated

#: Longest word that is compared: the search is slow, and longer words are not typing errors.
_LONGEST = 80


def similar(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """The known word that is most like this one, ignoring case; None if none has that much ``likeness``."""
    if len(word) > _LONGEST:
        return None
    import difflib  # loaded only after a mistake

    lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=likeness)
    return lower[close[0]] if close else None


def did_you_mean(*words: str | None) -> str:
    """The end of a message: "; did you mean `a`, `b` or `c`?", or empty if no word was found."""
    found = enumerated(f"`{word}`" for word in dict.fromkeys(words) if word)
    return f"; did you mean {found}?" if found else ""
