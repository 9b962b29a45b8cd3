"""Texts of other people, made safe to show."""

from __future__ import annotations

__all__ = ["visible_text"]


def visible_text(text: object) -> str:
    """A text in which control characters, marks of direction and the like stand as escapes.

    As they are, a terminal would obey the ones and hide the others, and an output encoding may refuse them.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in str(text)
    )
