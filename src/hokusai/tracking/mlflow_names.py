"""Names and values as MLflow takes them, and back.

MLflow refuses some characters in the names of metrics, parameters and tags, refuses names that read like another path
(``a//b``, ``../a``), cuts long parameter values without a word and keeps an infinity as the largest finite number.
Here a name becomes one that MLflow takes, and comes back unchanged: a character that it refuses is written as
``_x`` + its hexadecimal code point + ``_``, as ECMA-376 Part 1, 22.9.2.19 (ST_Xstring) writes characters that XML
refuses.
"""

from __future__ import annotations

import math
import re
import sys
from functools import lru_cache

__all__ = [
    "LONGEST_NAME",
    "LONGEST_PARAMETER",
    "LONGEST_TAG",
    "LONGEST_VERSION_TAG",
    "from_mlflow_name",
    "kept_value",
    "storable",
    "to_mlflow_name",
]

LONGEST_NAME = 250
"""Characters of a metric's, parameter's or tag's name, as MLflow counts them."""
LONGEST_PARAMETER = 6000
"""Characters of a parameter's value; MLflow cuts off what is beyond."""
LONGEST_TAG = 8000
"""Characters of a tag's value; MLflow cuts off what is beyond."""
LONGEST_VERSION_TAG = 5000
"""Characters of a model version's tag that every MLflow server takes; newer ones take more."""

_REFUSED = re.compile(r"[^\w.\- :/]")
_ESCAPE = re.compile(r"_x([0-9A-F]{4,6})_")
_LIKE_AN_ESCAPE = re.compile(r"_(?=x[0-9A-F]{4,6}_)")


@lru_cache(maxsize=4096)
def to_mlflow_name(name: str) -> str:
    """Return the name under which MLflow keeps a metric, parameter or tag; most names stay as they are."""
    escaped = _LIKE_AN_ESCAPE.sub(_escape("_"), name)
    escaped = _REFUSED.sub(lambda match: _escape(match[0]), escaped)
    if escaped.startswith(".."):
        escaped = _escape(".") + escaped[1:]
    parts = escaped.split("/")
    if "" in parts:
        return escaped.replace("/", _escape("/"))
    return "/".join(_escape(".") * len(part) if part in (".", "..") else part for part in parts)


@lru_cache(maxsize=4096)
def from_mlflow_name(name: str) -> str:
    """Return the name that :func:`to_mlflow_name` was given."""
    return _ESCAPE.sub(lambda match: _character(match[1], otherwise=match[0]), name)


def storable(text: str) -> str:
    """Return the text with lone surrogates, which no store takes, and NUL, which PostgreSQL refuses, as escapes."""
    encodable = text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
    return encodable.replace("\0", r"\x00")


def kept_value(value: float) -> float:
    """Return the number that MLflow keeps for a metric value: infinities become the largest finite numbers."""
    if math.isinf(value):
        return math.copysign(sys.float_info.max, value)
    return value


def _escape(character: str) -> str:
    return f"_x{ord(character):04X}_"


def _character(code: str, *, otherwise: str) -> str:
    number = int(code, 16)
    return chr(number) if number <= sys.maxunicode else otherwise
