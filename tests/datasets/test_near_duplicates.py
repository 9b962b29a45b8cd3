"""Near duplicates: what is planted is found, what is honest is not, and what cannot be told is said to be so."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from faker import Faker
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from hokusai.datasets.near_duplicates import NearDuplicates
from hokusai.datasets.word_hashes import words_of
from hokusai.errors import DataError, SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable

REFERENCE, BASE, PLANTS = 3_000, 6_000, 1_000
ALLOWED = 0.001
COLUMNS = [f"number_{at}" for at in range(8)] + ["size", "colour", "is_new"]


def measurements(rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Eight numbers, one of them skewed, one whole, two correlated; two categories; a boolean."""
    numbers = rng.normal(size=(rows, 8))
    numbers[:, 1] = 0.7 * numbers[:, 0] + 0.7 * numbers[:, 1]
    numbers[:, 2] = np.exp(numbers[:, 2])
    numbers[:, 3] = rng.poisson(4, rows)
    table = pd.DataFrame(numbers, columns=COLUMNS[:8])
    table["size"] = rng.choice(["S", "M", "L", "extra large"], rows)
    table["colour"] = rng.choice([f"colour {shade}" for shade in range(30)], rows)
    table["is_new"] = rng.random(rows) < 0.5
    return table


def arrow(table: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(table, preserve_index=False)


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    return measurements(REFERENCE, np.random.default_rng(1))


@pytest.fixture(scope="module")
def numbers(reference: pd.DataFrame) -> NearDuplicates:
    base = measurements(BASE, np.random.default_rng(2))
    return NearDuplicates(arrow(reference), base=arrow(base), features=COLUMNS)


def noisy(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    copy = table.copy()
    for name in COLUMNS[:8]:
        copy[name] += rng.normal(size=len(copy)) * 0.03 * table[name].std()
    return copy


def share_found(search: NearDuplicates, copies: pd.DataFrame, positions: np.ndarray) -> float:
    return float((search.find(arrow(copies)) == positions).mean())


def test_copies_with_noise_on_every_number_are_found(numbers: NearDuplicates, reference: pd.DataFrame) -> None:
    copies = noisy(reference, np.random.default_rng(3))
    assert share_found(numbers, copies, np.arange(REFERENCE)) >= 0.99


@pytest.mark.parametrize("column", COLUMNS)
def test_copies_with_one_column_replaced_are_found(
    numbers: NearDuplicates, reference: pd.DataFrame, column: str
) -> None:
    copies = reference.copy()
    others = measurements(REFERENCE, np.random.default_rng(4))[column]
    copies[column] = others * 9 if column.startswith("number") else others
    assert share_found(numbers, copies, np.arange(REFERENCE)) >= 0.99


@pytest.mark.parametrize("column", ["number_0", "number_3", "colour", "is_new"])
def test_copies_with_noise_and_a_column_emptied_are_found(
    numbers: NearDuplicates, reference: pd.DataFrame, column: str
) -> None:
    copies = noisy(reference, np.random.default_rng(5))
    copies[column] = None
    assert share_found(numbers, copies, np.arange(REFERENCE)) >= 0.99


def test_fresh_rows_are_not_taken_for_copies(numbers: NearDuplicates) -> None:
    fresh = measurements(50_000, np.random.default_rng(6))
    assert (numbers.find(arrow(fresh)) >= 0).mean() < ALLOWED
    (verdict,) = numbers.verdicts
    assert verdict.is_evidence
    assert verdict.expected_false_alarms is not None
    assert verdict.expected_false_alarms < ALLOWED


def test_the_label_and_other_columns_change_nothing(numbers: NearDuplicates, reference: pd.DataFrame) -> None:
    flipped = noisy(reference, np.random.default_rng(7)).assign(label=1, note="unseen")
    assert share_found(numbers, flipped, np.arange(REFERENCE)) >= 0.99


def test_extreme_and_unknown_numbers_are_no_copies_and_no_trouble(numbers: NearDuplicates) -> None:
    strange = measurements(6, np.random.default_rng(8))
    for at, value in enumerate((np.inf, -np.inf, np.nan, 1e308, -1e308, 1e-308)):
        strange.loc[at, COLUMNS[:8]] = value
    assert (numbers.find(arrow(strange)) == -1).all()


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 500), max_size=4).map(sorted))
def test_batches_change_nothing(numbers: NearDuplicates, reference: pd.DataFrame, cuts: list[int]) -> None:
    table = arrow(pd.concat([noisy(reference.head(250), np.random.default_rng(9)), reference.tail(250)]))
    edges = [0, *cuts, 500]
    parts = [numbers.find(table.slice(a, b - a)) for a, b in pairwise(edges)]
    assert (np.concatenate(parts) == numbers.find(table)).all()
    batches = table.to_batches(max_chunksize=100)
    assert (np.concatenate([numbers.find(batch) for batch in batches]) == numbers.find(table)).all()


def test_four_columns_are_too_narrow_and_mark_nothing() -> None:
    folder = Path(str(importlib.util.find_spec("palmerpenguins").origin)).parent  # type: ignore[union-attr]
    penguins = pd.read_csv(folder / "data" / "penguins.csv").dropna().sample(frac=1, random_state=0)
    features = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    search = NearDuplicates(arrow(penguins[:110]), base=arrow(penguins[110:220]), features=features)
    (verdict,) = search.verdicts
    assert not verdict.is_evidence
    assert "told from honest rows: 4 columns" in verdict.reason
    assert (search.find(arrow(penguins)) == -1).all()


def test_many_columns_of_few_values_are_no_evidence() -> None:
    rng = np.random.default_rng(10)
    made = [pd.DataFrame(rng.integers(0, 2, (4_000, 8)), columns=list("abcdefgh")) for _ in range(3)]
    search = NearDuplicates(arrow(made[0]), base=arrow(made[1]), features=list("abcdefgh"))
    assert not search.verdicts[0].is_evidence
    assert (search.find(arrow(made[2])) == -1).all()


def test_an_honest_base_that_resembles_the_benchmark_widens_nothing(reference: pd.DataFrame) -> None:
    base = pd.concat([measurements(BASE, np.random.default_rng(11)), noisy(reference, np.random.default_rng(12))])
    search = NearDuplicates(arrow(reference), base=arrow(base), features=COLUMNS)
    assert not search.verdicts[0].is_evidence or (search.verdicts[0].radius or 1) < 0.03


def test_exact_copies_in_the_base_do_not_blind_the_search(reference: pd.DataFrame) -> None:
    base = pd.concat([measurements(BASE, np.random.default_rng(13)), reference])
    search = NearDuplicates(arrow(reference), base=arrow(base), features=COLUMNS)
    assert search.verdicts[0].is_evidence
    assert share_found(search, reference, np.arange(REFERENCE)) == 1


def test_a_missing_column_and_one_of_another_kind_are_refused(numbers: NearDuplicates) -> None:
    table = arrow(measurements(3, np.random.default_rng(14)))
    with pytest.raises(SchemaMismatchError) as missing:
        numbers.find(table.drop_columns(["colour"]))
    assert missing.value.missing == ("colour",)
    with pytest.raises(DataError, match=r"number_0.*expected numbers"):
        numbers.find(table.set_column(0, "number_0", pa.array(["a", "b", "c"])))


def test_rows_that_share_most_numbers_to_the_digit_hide_no_noise() -> None:
    rng = np.random.default_rng(16)
    hours = pd.DataFrame(rng.normal(size=(800, 6)), columns=list("abcdef"))

    def flights(rows: int) -> pd.DataFrame:
        table = hours.iloc[rng.integers(0, len(hours), rows)].reset_index(drop=True)
        return table.assign(
            minute=rng.integers(0, 60, rows) * 1.0,
            distance=rng.choice(np.arange(40) * 31.7, rows),
            carrier=rng.choice(list("ABCDEFGH"), rows),
        )

    benchmark, base = flights(4_000), flights(20_000)
    names = benchmark.columns.tolist()
    search = NearDuplicates(arrow(benchmark), base=arrow(base), features=names)
    (verdict,) = search.verdicts
    assert verdict.radius == pytest.approx(0.035)
    assert "minute" in verdict.concealing
    assert "a" not in verdict.concealing
    copies = benchmark.copy()
    for name in names[:-1]:
        copies[name] += rng.normal(size=len(copies)) * 0.03 * benchmark[name].std()
    assert share_found(search, copies, np.arange(4_000)) >= 0.99
    replaced = benchmark.assign(a=rng.normal(size=4_000))
    assert (search.find(arrow(replaced)) >= 0).mean() >= 0.99
    assert (search.find(arrow(flights(50_000))) >= 0).mean() < 2 * ALLOWED


@pytest.mark.parametrize("data", [load_wine, load_diabetes, load_breast_cancer])
def test_a_base_of_some_dozen_rows_costs_no_recall(data: Callable[..., Any]) -> None:
    table = data(as_frame=True).data.sample(frac=1, random_state=0).reset_index(drop=True)
    benchmark, base, fresh = table[:60], table[60:120], table[120:]
    search = NearDuplicates(arrow(benchmark), base=arrow(base), features=table.columns.tolist())
    rng = np.random.default_rng(17)
    copies = benchmark + rng.normal(size=benchmark.shape) * 0.03 * benchmark.std().to_numpy()
    assert share_found(search, copies, np.arange(60)) >= 0.99
    last = table.columns[-1]
    replaced = benchmark.assign(**{last: benchmark[last].to_numpy() + 9})
    assert share_found(search, replaced, np.arange(60)) >= 0.99
    assert (search.find(arrow(fresh)) == -1).all()


def test_a_small_base_that_resembles_the_benchmark_narrows_the_radius() -> None:
    rng = np.random.default_rng(18)
    names = [f"number_{at}" for at in range(8)]
    benchmark = pd.DataFrame(rng.normal(size=(300, 8)), columns=names)
    base = benchmark + rng.normal(size=(300, 8)) * 0.03
    (verdict,) = NearDuplicates(arrow(benchmark), base=arrow(base), features=names).verdicts
    assert not verdict.is_evidence or (verdict.radius or 0) < 0.01


def test_rows_of_common_values_are_said_to_be_too_common(reference: pd.DataFrame) -> None:
    table = reference.copy()
    table.loc[::10, COLUMNS[:8]] = None
    base = measurements(BASE, np.random.default_rng(19))
    base.loc[::10, COLUMNS[:8]] = None
    search = NearDuplicates(arrow(table), base=arrow(base), features=COLUMNS)
    (verdict,) = search.verdicts
    assert verdict.searchable == pytest.approx(0.9)
    assert "10 % of benchmark rows are too common" in verdict.reason
    assert (search.find(arrow(table[::10])) == -1).all()


def test_exact_copies_in_a_small_base_do_not_blind_the_search() -> None:
    rng = np.random.default_rng(20)
    names = [f"number_{at}" for at in range(8)]
    benchmark = pd.DataFrame(rng.normal(size=(300, 8)), columns=names)
    base = pd.concat([pd.DataFrame(rng.normal(size=(300, 8)), columns=names), benchmark])
    (verdict,) = NearDuplicates(arrow(benchmark), base=arrow(base), features=names).verdicts
    assert verdict.radius == pytest.approx(0.035)


FOOTER = (
    "This message and its attachments are confidential and meant for the person they are addressed to alone. If you "
    "have received it by mistake please tell the sender and delete it from your system without reading it further."
)


def e_mails(count: int, seed: int) -> list[str]:
    """Texts of their own between a greeting and a footer that all of them share."""
    faker = Faker()
    faker.seed_instance(seed)
    return [f"Dear customer,\n{faker.paragraph(nb_sentences=5)}\nKind regards\n\n{FOOTER}" for _ in range(count)]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return e_mails(1_500, 1)


@pytest.fixture(scope="module")
def text_search(texts: list[str]) -> NearDuplicates:
    return NearDuplicates(pa.table({"text": texts}), base=pa.table({"text": e_mails(3_000, 2)}), features=["text"])


def own_part(text: str) -> str:
    return text.split("\n")[1]


def test_texts_with_a_tenth_of_their_words_edited_are_found(text_search: NearDuplicates, texts: list[str]) -> None:
    rng = np.random.default_rng(3)
    edited = []
    for text in texts:
        words = text.split()
        for at in rng.choice(len(words), round(len(words) / 10), replace=False):
            words[at] = f"other{rng.integers(1_000)}"
        edited.append(" ".join(words))
    assert (text_search.find(pa.table({"text": edited})) == np.arange(len(texts))).mean() >= 0.95


def test_texts_inside_longer_ones_are_all_found(text_search: NearDuplicates, texts: list[str]) -> None:
    around = e_mails(2 * len(texts), 4)
    longer = [
        f"{own_part(before)} {own_part(text)} {own_part(after)}"
        for text, before, after in zip(texts, around[::2], around[1::2], strict=True)
    ]
    assert (text_search.find(pa.table({"text": longer})) == np.arange(len(texts))).all()


def test_excerpts_are_found(text_search: NearDuplicates, texts: list[str]) -> None:
    excerpts = [" ".join(own_part(text).split()[2:14]) for text in texts]
    assert (text_search.find(pa.table({"text": excerpts})) == np.arange(len(texts))).mean() >= 0.99


def test_spelling_that_no_reader_sees_hides_nothing(text_search: NearDuplicates, texts: list[str]) -> None:
    disguised = [own_part(text).upper().replace(" ", " - ").replace("A", "\u200bＡ") for text in texts]  # noqa: RUF001
    assert (text_search.find(pa.table({"text": disguised})) == np.arange(len(texts))).all()


def test_boilerplate_is_no_copy(text_search: NearDuplicates) -> None:
    assert text_search.verdicts[0].is_evidence
    fresh = [*e_mails(3_000, 5), *[f"{FOOTER} {number}" for number in range(100)]]
    assert (text_search.find(pa.table({"text": fresh})) >= 0).mean() < ALLOWED


def test_texts_that_are_all_boilerplate_are_no_evidence() -> None:
    licences = [f"{FOOTER} Copyright {year}." for year in range(1_000)]
    search = NearDuplicates(pa.table({"t": licences[:500]}), base=pa.table({"t": licences[500:]}), features=["t"])
    assert not search.verdicts[0].is_evidence
    assert (search.find(pa.table({"t": licences})) == -1).all()


def test_a_flood_of_all_texts_in_one_row_is_one_match(text_search: NearDuplicates, texts: list[str]) -> None:
    flood = " ".join(own_part(text) for text in texts)
    found = text_search.find(pa.table({"text": [flood, "short text", "", None]}))
    assert found[0] >= 0
    assert (found[1:] == -1).all()


def test_every_text_column_is_searched_on_its_own(texts: list[str]) -> None:
    def table(first: list[str], second: list[str]) -> pa.Table:
        return pa.table({"title": first, "body": second})

    search = NearDuplicates(
        table(texts, e_mails(1_500, 6)), base=table(e_mails(2_000, 7), e_mails(2_000, 8)), features=["title", "body"]
    )
    assert [verdict.columns for verdict in search.verdicts] == [("title",), ("body",)]
    found = search.find(table(e_mails(500, 9), e_mails(1_500, 6)[:500]))
    assert (found == np.arange(500)).all()


@settings(deadline=None)
@given(words=st.lists(st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=8), max_size=9))
def test_words_do_not_depend_on_the_rows_around_them(words: list[str]) -> None:
    text = " ".join(words)
    alone = words_of(pa.array([text]))
    among = words_of(pa.array(["plain words", None, text, "éa b\0c", ""]))
    start = int(among.counts[:2].sum())
    assert among.counts[2] == alone.counts[0]
    assert (among.hashes[start : start + alone.counts[0]] == alone.hashes).all()
    assert among.text_hashes[2] == alone.text_hashes[0]


def test_texts_of_many_megabytes_are_searched_to_the_end(text_search: NearDuplicates, texts: list[str]) -> None:
    padding = "filler " * 100_000
    long_texts = [f"{padding}{own_part(text)}" for text in texts[:4]]
    assert text_search.find(pa.table({"text": long_texts})).tolist() == [0, 1, 2, 3]


def test_four_precise_columns_are_too_few_whatever_the_base_says() -> None:
    rng = np.random.default_rng(15)
    made = [pd.DataFrame(rng.normal(size=(5_000, 4)), columns=list("abcd")) for _ in range(2)]
    search = NearDuplicates(arrow(made[0].head(500)), base=arrow(made[1]), features=list("abcd"))
    assert not search.verdicts[0].is_evidence


def sentences(count: int, seed: int, *, shortest: int = 8, longest: int = 19) -> list[str]:
    """Different texts of some words each, from a vocabulary in which some words are far more common than others."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, 3_001)
    words = np.array([f"word{number:x}" for number in range(3_000)])
    lengths = rng.integers(shortest, longest + 1, count)
    return [" ".join(rng.choice(words, length, p=frequency / frequency.sum())) for length in lengths]


@pytest.fixture(scope="module")
def short_texts() -> list[str]:
    return sentences(1_500, 21)


@pytest.fixture(scope="module")
def short_search(short_texts: list[str]) -> NearDuplicates:
    return NearDuplicates(pa.table({"t": short_texts}), base=pa.table({"t": sentences(3_000, 22)}), features=["t"])


@pytest.mark.parametrize(("shortest", "longest"), [(8, 11), (12, 19)])
def test_short_texts_with_a_tenth_of_their_words_edited_are_found(
    short_search: NearDuplicates, short_texts: list[str], shortest: int, longest: int
) -> None:
    rng = np.random.default_rng(23)
    chosen = [at for at, text in enumerate(short_texts) if shortest <= len(text.split()) <= longest]
    edited = []
    for at in chosen:
        words = short_texts[at].split()
        for place in rng.choice(len(words), round(len(words) / 10), replace=False):
            words[place] = f"other{rng.integers(1_000)}"
        edited.append(" ".join(words))
    assert (short_search.find(pa.table({"t": edited})) == np.array(chosen)).mean() >= 0.95


def test_short_texts_inside_longer_ones_are_all_found(short_search: NearDuplicates, short_texts: list[str]) -> None:
    around = sentences(1_500, 24, shortest=40, longest=60)
    longer = [f"{before} {text} {before}" for before, text in zip(around, short_texts, strict=True)]
    assert (short_search.find(pa.table({"t": longer})) == np.arange(1_500)).all()


def test_a_turn_of_phrase_makes_no_copy(short_search: NearDuplicates, short_texts: list[str]) -> None:
    borrowed = []
    for text, own in zip(short_texts, sentences(1_500, 25, shortest=12, longest=16), strict=True):
        borrowed.append(" ".join([*text.split()[:6], *own.split()[:9]]))
    long_enough = [phrase for phrase, text in zip(borrowed, short_texts, strict=True) if len(text.split()) >= 12]
    assert (short_search.find(pa.table({"t": long_enough})) >= 0).mean() < 2 * ALLOWED


def test_base_texts_that_say_the_same_words_do_not_blind_the_search(short_texts: list[str]) -> None:
    shouted = [text.upper() + "!" for text in short_texts]
    base = pa.table({"t": [*sentences(3_000, 22), *shouted]})
    (verdict,) = NearDuplicates(pa.table({"t": short_texts}), base=base, features=["t"]).verdicts
    assert verdict.is_evidence
    assert verdict.short_threshold == pytest.approx(0.5)


def test_an_edited_mail_that_shares_a_footer_with_all_is_found_by_its_own_words(
    text_search: NearDuplicates, texts: list[str]
) -> None:
    fresh = [f"{own_part(mail)} {FOOTER}" for mail in e_mails(len(texts), 26)]
    copies = [f"{own_part(text)} {FOOTER}" for text in texts]
    found = text_search.find(pa.table({"text": [*fresh, *copies]}))
    assert (found[len(texts) :] == np.arange(len(texts))).all()
    assert (found[: len(texts)] >= 0).mean() < ALLOWED


def test_the_first_word_of_a_row_does_not_join_the_last_of_the_row_before() -> None:
    together = words_of(pa.array(["alpha beta", "gamma", "", "delta"]))
    alone = [words_of(pa.array([text])).hashes for text in ("alpha beta", "gamma", "delta")]
    assert together.counts.tolist() == [2, 1, 0, 1]
    assert (together.hashes == np.concatenate(alone)).all()


def test_the_shingles_of_a_row_end_with_it(short_texts: list[str]) -> None:
    halves = [part for text in short_texts for part in (" ".join(text.split()[:4]), " ".join(text.split()[4:8]))]
    joined = pa.table({"t": [f"{one} {other}" for one, other in zip(halves[::2], halves[1::2], strict=True)]})
    search = NearDuplicates(joined, base=pa.table({"t": sentences(3_000, 27)}), features=["t"])
    assert (search.find(joined) >= 0).mean() > 0.99
    assert (search.find(pa.table({"t": halves})) == -1).all()
