"""Damaged and hostile table files, made from sound ones by numbered seeds: the same file for the same number."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import feather

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Mutation = Callable[[bytes, random.Random], bytes]

__all__ = ["FuzzedFile", "fuzzed_file"]

_WORDS = (
    "low",
    "high",
    "",
    "a,b",
    'say "so"',
    "two\nlines",
    "naïve café",
    "日本",
    " padded ",
    "007",
    "NA",
    "x;y",
    "🙂",
)
_TEXT_FORMATS = ("csv", "tsv", "json", "jsonl", "csv.gz", "tsv.zst", "json.zst", "jsonl.gz", "csv.zst", "json.gz")
_BINARY_FORMATS = ("parquet", "arrow", "feather", "arrow.gz", "parquet.zst")
_TYPES = {"id": "int", "weight": "float", "word": "string", "ok": "bool", "day": "date", "at": "timestamp_utc"}
_TOKENS = (
    *(b'"', b'""', b",", b";", b"\t", b"|", b"\n", b"\r", b"\r\n", b"\n\n", b"\0"),
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xe9",
        b"007",
        b"1e999",
        b"-1e999",
        b"9007199254740993",
        b"9223372036854775808",
        b"9" * 400,
        b"1." + b"3" * 400,
    ),
    *(b"NaN", b"Infinity", b"-0", b"+1", b".5", b"1.", b"1,5", b" 1", b"1e5", b"1.5", b"0x1F", b"1_000", b"\\", b"'"),
    *(b"true", b"TRUE", b"null", b'"true"', b'"1"', b'""', b"{}", b"[1]", b"\xf0\x9f\x99\x82", b"\xc2\xa0", b"\x1a"),
    *(b"[" * 3000, b'{"a":' * 3000, b"{", b"}", b"[", b"]", b":", b'"id": 3,', b"\\ud800", b"\\u0000", b"\xed\xa0\x80"),
    *(b"2024-02-30", b"2024-01-01T00:00:00", b"2024-01-01T23:59:60Z", b"0000-00-00", b"2024-01-01", b"\xe2\x80\xa8"),
)


@dataclass(frozen=True, slots=True)
class FuzzedFile:
    """A file to read.

    Attributes:
        name: Its name; the ending is its format.
        content: Its bytes.
        delimiter: What separated the fields of a CSV file before it was damaged.
        types: The types to declare, or none.
        sound: The bytes before the damage and before they were packed.
        table: The table that was written into a Parquet or Arrow file; None for text.
        done: The names of the mutations, for messages.
    """

    name: str
    content: bytes
    delimiter: str
    types: dict[str, str]
    sound: bytes
    table: pa.Table | None
    done: tuple[str, ...] = ()


def fuzzed_file(number: int) -> FuzzedFile:
    """The damaged file of this number; about one in thirteen is sound."""
    rng = random.Random(number)  # noqa: S311 - a sequence to repeat, no secret
    ending = rng.choice(_TEXT_FORMATS * 2 + _BINARY_FORMATS)
    plain, _, packed = ending.partition(".")
    file = _sound_file(plain, rng)
    if plain in {"csv", "tsv", "json", "jsonl"} and rng.random() < 0.8:
        file = _mutated(file, _of_text(plain), rng)
    file = replace(file, name=f"{number}.{ending}", content=_packed(file.content, packed, rng))
    if rng.random() < (0.12 if file.done else 0.8):
        file = _mutated(file, _OF_BYTES, rng)
    return file


def _sound_file(plain: str, rng: random.Random) -> FuzzedFile:
    rows = [_row(number, rng) for number in range(rng.choice((1, 3, 12, 12, 40, 400)))]
    names = list(_TYPES)[: rng.randint(1, len(_TYPES))]
    rng.shuffle(names)
    types = {name: _TYPES[name] for name in names} if rng.random() < 0.5 else {}
    delimiter = rng.choice(",,,;|") if plain == "csv" else "\t"
    if plain in {"csv", "tsv"}:
        content = _delimited(rows, names, delimiter, rng)
    elif plain in {"json", "jsonl"}:
        content = _json(rows, names, is_lines=plain == "jsonl", rng=rng)
    else:
        table = _table(rows, names)
        content = _binary(table, plain, rng)
        return FuzzedFile(f"t.{plain}", content, delimiter, {}, content, table)
    return FuzzedFile(f"t.{plain}", content, delimiter, types, content, None)


def _row(number: int, rng: random.Random) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": rng.choice((number, number, -number, 2**53 - number)),
        "weight": rng.choice((rng.random(), rng.gauss(0, 1e6), 0.1, 1e-300, 0.0)),
        "word": rng.choice(_WORDS),
        "ok": rng.random() < 0.5,
        "day": f"20{rng.randint(10, 99)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
        "at": f"2024-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}T1{rng.randint(0, 9)}:00:{rng.randint(10, 59)}Z",
    }
    return {name: None if rng.random() < 0.03 else value for name, value in row.items()}


def _delimited(rows: Sequence[dict[str, Any]], names: Sequence[str], delimiter: str, rng: random.Random) -> bytes:
    file = io.StringIO(newline="")
    is_quoted = rng.random() < 0.3
    writer = csv.writer(
        file,
        delimiter=delimiter,
        quoting=csv.QUOTE_NONNUMERIC if is_quoted else csv.QUOTE_MINIMAL,
        lineterminator=rng.choice(("\n", "\n", "\r\n", "\r")),
    )
    writer.writerow(names)
    writer.writerows([_spelled(row[name]) for name in names] for row in rows)
    encoding = rng.choice(("utf-8",) * 8 + ("utf-8-sig", "utf-16", "utf-16-le"))
    return file.getvalue().encode(encoding)


def _spelled(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _json(rows: Sequence[dict[str, Any]], names: Sequence[str], *, is_lines: bool, rng: random.Random) -> bytes:
    indent = rng.choice((None, None, 1)) if not is_lines else None
    is_ascii, drops = rng.random() < 0.5, rng.random() < 0.3
    kept = [{name: row[name] for name in names if not (drops and row[name] is None and len(names) > 1)} for row in rows]
    if is_lines:
        return "".join(json.dumps(row, ensure_ascii=is_ascii) + "\n" for row in kept).encode()
    return json.dumps(kept, indent=indent, ensure_ascii=is_ascii).encode()


def _table(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> pa.Table:
    types = {"id": pa.int64(), "weight": pa.float64(), "ok": pa.bool_()}
    return pa.table({name: pa.array([row[name] for row in rows], types.get(name, pa.string())) for name in names})


def _binary(table: pa.Table, plain: str, rng: random.Random) -> bytes:
    file = pa.BufferOutputStream()
    if plain == "parquet":
        pq.write_table(
            table,
            file,
            compression=rng.choice(("none", "snappy", "zstd", "gzip", "lz4")),
            use_dictionary=rng.random() < 0.5,
            row_group_size=rng.choice((5, 1000)),
            data_page_version=rng.choice(("1.0", "2.0")),
            write_page_checksum=True,
        )
    elif plain == "feather":
        feather.write_feather(table, file, compression=rng.choice(("uncompressed", "lz4", "zstd")))
    else:
        kind = rng.choice((pa.ipc.new_file, pa.ipc.new_stream))
        with kind(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=rng.choice((7, 1000)))
    return bytes(file.getvalue())


def _packed(content: bytes, packed: str, rng: random.Random) -> bytes:
    if packed == "gz":
        cut = rng.choice((0, len(content) // 2))  # two members are one file
        return b"".join(gzip.compress(part, mtime=0) for part in (content[:cut], content[cut:]) if part or not cut)
    if packed == "zst":
        return bytes(pa.compress(content, codec="zstd", asbytes=True))
    return content


def _mutated(file: FuzzedFile, mutations: Sequence[Mutation], rng: random.Random) -> FuzzedFile:
    content, done = file.content, file.done
    for _ in range(rng.choice((1, 1, 1, 1, 1, 2, 3))):
        mutation = rng.choice(mutations)
        content, done = mutation(content, rng), (*done, mutation.__name__.strip("_"))
    return replace(file, content=content, done=done)


# --- bytes -----------------------------------------------------------------------------------------------------------


def _span(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice((1, 1, 2, 4, 8, 50, 500)))


def _flip_bits(content: bytes, rng: random.Random) -> bytes:
    flipped = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8)) if content else 0):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _cut_off(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.choice((rng.randrange(len(content) + 1), max(0, len(content) - rng.randint(1, 9))))]


def _delete(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + content[end:]


def _double(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    return content[:end] + content[start:]


def _move(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    rest = content[:start] + content[end:]
    to = rng.randrange(len(rest) + 1)
    return rest[:to] + content[start:end] + rest[to:]


def _insert_noise(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.randbytes(rng.choice((1, 2, 8, 64))) + content[at:]


def _overwrite(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + rng.choice((b"\0", b"\xff", b"\x7f")) * (end - start) + content[end:]


def _append(content: bytes, rng: random.Random) -> bytes:
    return content + rng.choice((b"\0", b"\n", content[:100], content, b"PAR1", rng.randbytes(10)))


_OF_BYTES = (_flip_bits, _flip_bits, _flip_bits, _cut_off, _delete, _double, _move, _insert_noise, _overwrite, _append)


# --- text ------------------------------------------------------------------------------------------------------------


def _insert_token(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice(_TOKENS) + content[at:]


def _replace_value(content: bytes, rng: random.Random) -> bytes:
    """Put a token in the place of what stands between two separators."""
    marks = [at for at, byte in enumerate(content) if byte in b",;|\t\n:[]{}"]
    if not marks:
        return _insert_token(content, rng)
    place = rng.randrange(len(marks))
    end = marks[place + 1] if place + 1 < len(marks) else len(content)
    return content[: marks[place] + 1] + rng.choice(_TOKENS) + content[end:]


def _change_lines(content: bytes, rng: random.Random) -> bytes:
    """Double, drop, swap, lengthen, shorten or blank a line, or repeat the header."""
    lines = content.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    line = lines[at]
    match rng.randrange(8):
        case 0:
            lines.insert(other, line)
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[other] = lines[other], line
        case 3:
            lines[at] = line + rng.choice((b",", b",1", b";x", b"\t", b"|"))
        case 4:
            lines[at] = line[: max(line.rfind(b","), line.rfind(b";"), line.rfind(b"\t"), 0)]
        case 5:
            lines.insert(at, b"")
        case 6:
            lines.insert(at, lines[0])
        case _:
            lines[at : at + 2] = [b" ".join(lines[at : at + 2])]
    return b"\n".join(lines)


def _change_all(content: bytes, rng: random.Random) -> bytes:
    """Change every line end, delimiter or quote, or the encoding."""
    match rng.randrange(6):
        case 0:
            return content.replace(b"\r\n", b"\n").replace(b"\n", rng.choice((b"\r", b"\r\n", b"\n\r", b"\r\r\n")))
        case 1:
            return content.replace(*rng.choice(((b",", b";"), (b";", b","), (b"|", b","), (b",", b"\t"), (b".", b","))))
        case 2:
            return content.replace(b'"', rng.choice((b"", b"'", b'""')))
        case 3:
            return content.decode("utf-8", "replace").encode(
                rng.choice(("utf-16", "utf-16-be", "utf-32", "cp1252")), "replace"
            )
        case 4:
            return content.rstrip(b"\n")
    return b"\xef\xbb\xbf" + content


def _double_name(content: bytes, rng: random.Random) -> bytes:
    names = [name.encode() for name in _TYPES if name.encode() in content]
    if not names:
        return content
    return content.replace(rng.choice(names), rng.choice([*names, b"", b" ", b"\xc3\x84"]), rng.choice((1, -1)))


def _nest(content: bytes, rng: random.Random) -> bytes:
    depth = rng.choice((1, 2, 100, 20_000))
    before, after = rng.choice(((b"[", b"]"), (b'{"a": ', b"}"), (b'[{"a": ', b"}]")))
    return before * depth + content + after * depth


def _of_text(plain: str) -> tuple[Mutation, ...]:
    common = (_insert_token, _replace_value, _replace_value, _change_lines, _change_lines, _change_all, _double_name)
    return (*common, _nest) if plain in {"json", "jsonl"} else common
