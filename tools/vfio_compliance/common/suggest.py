# SPDX-License-Identifier: GPL-2.0-only
"""What somebody may have meant who wrote a word that is not known."""

from __future__ import annotations

from collections.abc import Iterable

from .words import enumerated

#: Characters of a word that is still compared: the search is slow, and nobody writes such a long one by mistake.
_LONGEST = 80


def similar(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """The known word that is most like this one, in any case; None where none has that much ``likeness``."""
    if len(word) > _LONGEST:
        return None
    import difflib  # only a mistake pays for it

    lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=likeness)
    return lower[close[0]] if close else None


def did_you_mean(*words: str | None) -> str:
    """The end of a message: "; did you mean `a`, `b` or `c`?", or nothing where no word was found."""
    found = enumerated(f"`{word}`" for word in dict.fromkeys(words) if word)
    return f"; did you mean {found}?" if found else ""
