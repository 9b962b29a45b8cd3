"""JSON of strangers, read strictly: one meaning or none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn

from hokusai.digests import canonical_json
from hokusai.errors import StatementError

if TYPE_CHECKING:
    from hokusai.digests import JsonValue

__all__ = ["read_json", "require_canonical"]

_MOST_BYTES = 16 * 2**20


def read_json(content: bytes, *, source: str) -> JsonValue:
    """Return the value of a JSON text in UTF-8 in which no key is repeated and every number is one.

    Args:
        content: The text's bytes, at most 16 MiB.
        source: What messages call it.

    Raises:
        StatementError: ``too large``, ``not JSON``, ``truncated``, ``duplicate key``, or ``not a number``.
    """
    if len(content) > _MOST_BYTES:
        problem = f"it has {len(content):,} bytes, expected at most {_MOST_BYTES:,}."
        raise StatementError(source, reason="too large", problem=problem)

    def without_repetition(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            repeated = next(name for name in names if names.count(name) > 1)
            problem = f"the key {repeated!r} occurs twice in one object, so that two readers may see two values."
            raise StatementError(source, reason="duplicate key", problem=problem)
        return found

    def refuse_constant(name: str) -> NoReturn:
        raise StatementError(source, reason="not a number", problem=f"it holds {name}, which JSON does not have.")

    try:
        text = content.decode()
        value: JsonValue = json.loads(text, object_pairs_hook=without_repetition, parse_constant=refuse_constant)
    except RecursionError as error:
        raise StatementError(source, reason="not JSON", problem="it is nested too deeply.") from error
    except ValueError as error:
        is_cut = _ends_early(content, error)
        problem = "it ends before it is complete; fetch it again." if is_cut else f"it cannot be read ({error})."
        raise StatementError(source, reason="truncated" if is_cut else "not JSON", problem=problem) from error
    return value


def require_canonical(content: bytes, value: JsonValue, *, source: str) -> None:
    """Refuse a text that is not the canonical one of its value (RFC 8785): blanks, another order, other escapes.

    Args:
        content: The text's bytes.
        value: What :func:`read_json` returned for them.
        source: What messages call it.

    Raises:
        StatementError: ``not canonical``.
    """
    try:
        is_canonical = canonical_json(value) == content
    except (ValueError, RecursionError):
        is_canonical = False
    if not is_canonical:
        problem = "its bytes are not the canonical JSON of what they say (RFC 8785); somebody has written it anew."
        raise StatementError(source, reason="not canonical", problem=problem)


def _ends_early(content: bytes, error: ValueError) -> bool:
    if isinstance(error, UnicodeDecodeError):
        return error.reason == "unexpected end of data"
    text = content.decode().rstrip()
    at_end = isinstance(error, json.JSONDecodeError) and error.pos >= len(text)
    return not text or at_end or (text[0] == "{" and text[-1] != "}")
