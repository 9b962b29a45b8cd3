"""Assertions about what stands in MLflow, each of which names everything that differs at once.

They read the store again through MLflow's own client; a run that the caller holds only says which one is meant.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hokusai.digests import sha256
from hokusai.testing.completeness import check_run_complete
from hokusai.testing.snapshots import VOLATILE_METRICS, VOLATILE_TAGS, RunReader, run_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import TypeGuard

    from mlflow.entities import Run as MlflowRun

    from hokusai.testing.snapshots import RunLike, StoreLike

__all__ = ["assert_run_complete", "assert_same_history", "assert_tracked"]

_NAMES_SHOWN = 60
_TEXT_SHOWN = 100


def assert_tracked(
    run: RunLike,
    *,
    store: StoreLike = None,
    params: Mapping[str, object] | None = None,
    metrics: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
    datasets: Mapping[str, object] | Collection[str] | None = None,
    artifacts: Mapping[str, object] | Collection[str] | None = None,
    status: object = None,
    tolerance: float = 0.0,
) -> None:
    """Assert that a run holds what is named here; it may hold more.

    Any expected value may be ``...`` for "whatever it is", or a function of one argument that says whether the value
    will do. A class counts as a value.

    Args:
        run: The run, or its id. It is read from the store again.
        store: MLflow's client, a tracking URI, or what has one as ``uri``; default the store that MLflow is set to.
        params: Values by name, of any type; they are compared as MLflow stores them, as ``str(value)``.
        metrics: By name, the last value as a number, or the whole history as a list in the order of the steps. What is
            neither, such as ``pytest.approx(0.5)``, is compared by ``==``.
        tags: Values by name, compared as ``str(value)``.
        datasets: Contexts; or digests, or beginnings of them, by context. A dataset without a context has ``""``.
        artifacts: Paths of files and folders; or contents by path, as bytes, as a SHA-256 of 64 digits, or as text.
        status: Such as ``"FINISHED"``; default any.
        tolerance: How far a metric may be from a number; default 0.

    Raises:
        AssertionError: Something is missing or different. The message lists all of it, and what is there.
        RunNotFoundError: There is no such run.
        MlflowException: The store does not answer.
    """
    __tracebackhide__ = True
    reader = RunReader(store)
    found = reader.run(run)
    report = _Report()
    if found.info.lifecycle_stage != "active":
        report.add("the run has been deleted")
    if status is not None:
        report.compare("status", found.info.status, status, same=_is_same_text)
    _compare_texts(report, "param", found.data.params, params or {})
    _compare_texts(report, "tag", found.data.tags, tags or {})
    _compare_metrics(report, reader, found, metrics or {}, tolerance=tolerance)
    _compare_datasets(report, found, _by_name(datasets))
    if artifacts:
        _compare_artifacts(report, reader, found, _by_name(artifacts))
    if report.problems:
        raise _failure(f"{_title(found)} in {reader.uri}", report.problems, there=report.there)


def assert_run_complete(run: RunLike, *, store: StoreLike = None) -> None:
    """Assert that an evaluation of Hokusai is on record whole: its parent run, its five steps and its model.

    What that means stands in :func:`~hokusai.testing.completeness.check_run_complete`.

    Args:
        run: The parent run, or its id. It is read from the store again.
        store: MLflow's client, a tracking URI, or what has one as ``uri``; default the store that MLflow is set to.

    Raises:
        AssertionError: Something is missing or contradicts something else. The message lists all of it.
        RunNotFoundError: There is no such run.
        MlflowException: The store does not answer.
    """
    __tracebackhide__ = True
    reader = RunReader(store)
    problems = check_run_complete(run, store=store)
    if problems:
        raise _failure(f"the evaluation of {_title(reader.run(run))} in {reader.uri}", problems)


def assert_same_history(
    first: RunLike,
    second: RunLike,
    *,
    store: StoreLike = None,
    second_store: StoreLike = None,
    volatile_metrics: str = VOLATILE_METRICS,
    volatile_tags: str = VOLATILE_TAGS,
    unstable_artifacts: Collection[str] = (),
    replacements: Mapping[str, str] | None = None,
) -> None:
    """Assert that two runs, with the runs below them, tracked the same.

    Args:
        first: A run, or its id.
        second: Another one.
        store: MLflow's client, a tracking URI, or what has one as ``uri``; default the store that MLflow is set to.
        second_store: The store of the second run; default that of the first.
        volatile_metrics: As for :func:`~hokusai.testing.snapshots.run_snapshot`, like what follows.
        volatile_tags: Regular expression of tags to leave out.
        unstable_artifacts: Patterns of artifacts whose bytes are left out.
        replacements: More texts to replace, by regular expression.

    Raises:
        AssertionError: They differ. The message is a unified diff of their snapshots.
        RunNotFoundError: There is no such run.
        MlflowException: A store does not answer.
    """
    __tracebackhide__ = True
    texts, titles = [], []
    for run, own_store in ((first, store), (second, store if second_store is None else second_store)):
        reader = RunReader(own_store)
        titles.append(f"{_title(reader.run(run))} in {reader.uri}")
        text = run_snapshot(
            run,
            store=own_store,
            volatile_metrics=volatile_metrics,
            volatile_tags=volatile_tags,
            unstable_artifacts=unstable_artifacts,
            replacements=replacements,
        )
        texts.append(text.splitlines())
    difference = list(difflib.unified_diff(texts[0], texts[1], titles[0], titles[1], lineterm=""))
    if difference:
        message = "\n".join(["the two runs tracked different things:", *difference])
        raise AssertionError(message)


class _Report:
    """Gathers what differs, and what is there instead."""

    def __init__(self) -> None:
        """Begin without differences."""
        self.problems: list[str] = []
        self.there: list[str] = []

    def add(self, problem: str) -> None:
        """Note one difference."""
        self.problems.append(problem)

    def miss(self, what: str, name: str, names: Iterable[str]) -> None:
        """Note that a name is not there, with the names that it may have been meant to be."""
        near = difflib.get_close_matches(name, list(names), n=3)
        self.add(f"{what} {name!r}: missing" + (f"; near it: {', '.join(map(repr, near))}" if near else ""))

    def compare(
        self,
        what: str,
        got: Any,
        expected: object,
        *,
        same: Callable[[Any, Any], bool],
        show: Callable[[Any], str] = repr,
    ) -> None:
        """Note it when a value is not what is expected."""
        if expected is ...:
            return
        if not _is_condition(expected):
            if not same(got, expected):
                self.add(f"{what}: {_contrast(show(got), show(expected))}")
            return
        try:
            is_right = bool(expected(got))
        except Exception as error:  # noqa: BLE001  (whatever a stranger's condition raises is one more difference)
            said = f"{type(error).__name__}: {error}".strip(": ")
            self.add(f"{what}: got {_short(show(got))}, for which {_condition(expected)} raised {said}")
            return
        if not is_right:
            self.add(f"{what}: got {_short(show(got))}, which does not satisfy {_condition(expected)}")

    def list(self, what: str, items: Iterable[str]) -> None:
        """Say what is there, in as many lines as a person reads."""
        lines = sorted(items)
        self.there.append(f"{what}: {len(lines)}")
        self.there += [f"  {line}" for line in lines[:_NAMES_SHOWN]]
        if len(lines) > _NAMES_SHOWN:
            self.there.append(f"  and {len(lines) - _NAMES_SHOWN} more")


def _compare_texts(report: _Report, what: str, got: Mapping[str, str], expected: Mapping[str, object]) -> None:
    from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH

    limit = MAX_PARAM_VAL_LENGTH if what == "param" else MAX_TAG_VAL_LENGTH
    before = len(report.problems)
    for name, value in expected.items():
        if name not in got:
            report.miss(what, name, got)
            continue
        wanted = value if value is ... or _is_condition(value) else str(value)[:limit]
        report.compare(f"{what} {name!r}", got[name], wanted, same=_is_same_text)
    if len(report.problems) > before:
        report.list(f"{what}s", (f"{name} = {_short(repr(value))}" for name, value in got.items()))


def _compare_metrics(
    report: _Report, reader: RunReader, run: MlflowRun, expected: Mapping[str, object], *, tolerance: float
) -> None:
    got = run.data.metrics
    before = len(report.problems)
    beside = f" (tolerance {tolerance!r})" if tolerance else ""

    def is_same(value: float, wanted: object) -> bool:
        return _is_same_number(value, wanted, tolerance=tolerance)

    for name, value in expected.items():
        if name not in got:
            report.miss("metric", name, got)
            continue
        history = _as_history(value)
        if history is None:
            report.compare(f"metric {name!r}{beside}", got[name], value, same=is_same)
            continue
        points = reader.history(run.info.run_id, name)
        if len(points) != len(history):
            values = f"{_points(len(points))} {_short(repr([value for _, value in points]))}"
            listed = f"{_points(len(history))} {_short(repr(history))}"
            report.add(f"metric {name!r}: got {values}, expected {listed}")
            continue
        for place, ((step, point), wanted) in enumerate(zip(points, history, strict=True)):
            report.compare(f"metric {name!r}{beside}, point {place} (step {step})", point, wanted, same=is_same)
    if len(report.problems) > before:
        report.list("metrics", (f"{name} = {value!r}" for name, value in got.items()))


def _compare_datasets(report: _Report, run: MlflowRun, expected: Mapping[str, object]) -> None:
    digests: dict[str, list[str]] = {}
    lines = []
    for item in run.inputs.dataset_inputs if run.inputs else ():
        tags = {tag.key: tag.value for tag in item.tags}
        context, digest = tags.get("mlflow.data.context", ""), tags.get("hokusai.digest", item.dataset.digest)
        digests.setdefault(context, []).append(digest)
        lines.append(f"{context or '(no context)'}: {item.dataset.name}, digest {digest}")
    before = len(report.problems)
    for context, wanted in expected.items():
        if context not in digests:
            report.miss("dataset", context, digests)
            continue
        # Several datasets may have one context; it is enough that one of them is the expected one.
        attempts = [_Report() for _ in digests[context]]
        for attempt, digest in zip(attempts, digests[context], strict=True):
            attempt.compare(f"dataset {context!r}", digest, wanted, same=_begins_with)
        if all(attempt.problems for attempt in attempts):
            report.problems += [problem for attempt in attempts for problem in attempt.problems]
    if len(report.problems) > before:
        report.list("datasets", lines)


def _compare_artifacts(report: _Report, reader: RunReader, run: MlflowRun, expected: Mapping[str, object]) -> None:
    sizes = reader.artifacts(run.info.run_id)
    folders = {parent.as_posix() for path in sizes for parent in Path(path).parents[:-1]}
    before = len(report.problems)
    for name, wanted in expected.items():
        path = str(name)
        if path not in sizes:
            if path.rstrip("/") not in folders:
                report.miss("artifact", path, sizes)
            elif wanted is not ...:
                report.add(f"artifact {path!r}: is a folder, expected a file")
        elif wanted is not ...:
            content = reader.content(run.info.run_id, path)
            report.compare(f"artifact {path!r}", content, wanted, same=_is_same_content, show=_shown_content)
    if len(report.problems) > before:
        report.list("artifacts", (f"{path}, {size} bytes" for path, size in sizes.items()))


def _by_name(expected: Mapping[str, object] | Collection[str] | None) -> Mapping[str, object]:
    if isinstance(expected, Mapping):
        return expected
    return dict.fromkeys([expected] if isinstance(expected, str) else expected or (), ...)


def _is_same_text(got: str, expected: object) -> bool:
    return got == str(expected)


def _begins_with(digest: str, expected: object) -> bool:
    beginning = str(expected)
    return bool(beginning) and digest.startswith(beginning)


def _is_same_number(got: float, expected: object, *, tolerance: float) -> bool:
    try:
        number = math.nan if isinstance(expected, str) else float(expected)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return bool(got == expected)
    if math.isnan(number) or math.isnan(got):
        return math.isnan(number) and math.isnan(got) and not isinstance(expected, str)
    if math.isinf(number):
        # A database cannot hold infinity: MLflow keeps the greatest float in its place.
        return got in {number, math.copysign(sys.float_info.max, number)}
    return math.isclose(got, number, rel_tol=0, abs_tol=tolerance)


def _as_history(expected: object) -> list[object] | None:
    """Return a list of expected points, or None for anything that is not a list."""
    if isinstance(expected, (str, bytes)) or not isinstance(expected, Iterable):
        return None
    try:
        return list(expected)
    except TypeError:  # an array without dimensions is one number
        return None


def _points(count: int) -> str:
    return "1 point" if count == 1 else f"{count} points"


def _is_same_content(got: bytes, expected: object) -> bool:
    if isinstance(expected, str):
        return sha256(got) == expected.lower() if _is_sha256(expected) else got == expected.encode()
    return got == expected


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and not text.lower().strip("0123456789abcdef")


def _shown_content(content: object) -> str:
    if isinstance(content, str):
        return f"sha256 {content.lower()}" if _is_sha256(content) else _shown_content(content.encode())
    if not isinstance(content, bytes):
        return repr(content)
    words = f"{len(content)} bytes, sha256 {sha256(content)}"
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return words
    return f"{words}: {text!r}" if len(text) <= _TEXT_SHOWN else words


def _is_condition(expected: object) -> TypeGuard[Callable[[Any], object]]:
    return callable(expected) and not isinstance(expected, type)


def _condition(condition: Any) -> str:
    """Return how a person finds a condition again: by its name, or where it is written."""
    name = getattr(condition, "__name__", "")
    code = getattr(condition, "__code__", None)
    if name and name != "<lambda>":
        return str(name)
    return f"the condition at {Path(code.co_filename).name}:{code.co_firstlineno}" if code else repr(condition)


def _contrast(got: str, expected: str) -> str:
    """Return two texts side by side; of long ones, the part where they begin to differ."""
    if max(len(got), len(expected)) <= 2 * _TEXT_SHOWN:
        return f"got {got}, expected {expected}"
    pairs = zip(got, expected, strict=False)
    place = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(got), len(expected)))
    start, end = max(0, place - _TEXT_SHOWN // 4), place + _TEXT_SHOWN // 2
    cut = [("…" if start else "") + text[start:end] + ("…" if end < len(text) else "") for text in (got, expected)]
    return f"got {cut[0]}, expected {cut[1]} (they differ from character {place} on)"


def _short(text: str) -> str:
    return text if len(text) <= _TEXT_SHOWN else f"{text[: _TEXT_SHOWN - 1]}…"


def _title(run: MlflowRun) -> str:
    return f"run {run.info.run_name!r} ({run.info.run_id})"


def _failure(title: str, problems: Collection[str], *, there: Collection[str] = ()) -> AssertionError:
    count = f"{len(problems)} difference{'s' if len(problems) > 1 else ''}"
    lines = [f"{title}: {count}", *(f"  {problem}" for problem in problems)]
    if there:
        lines += ["what is there:", *(f"  {line}" for line in there)]
    return AssertionError("\n".join(lines))
