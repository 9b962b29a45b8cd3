"""Every error that Hokusai raises on purpose.

Each class keeps its facts as attributes and writes one message that says what was wrong, where, what was expected
and what to do next. ``exit_code`` is what the command line returns for it.

.. code-block:: text

    HokusaiError
    ├── ConfigurationError        a setting is unknown, of the wrong type, or missing
    ├── DataError                 a table cannot be used
    │   ├── UnreadableTableError    its bytes are not a table in the declared format
    │   │   └── TableLimitError       it is beyond a limit that guards against bombs and accidents
    │   ├── SchemaMismatchError     columns are missing
    │   ├── ValueMismatchError      a value does not fit its column's type
    │   ├── ContractViolationError  a table breaks the data contract
    │   ├── PersonalDataError       personal data stand in the table, and the policy is to refuse them
    │   ├── DuplicateRowsError      contributed rows are not new, and the policy is to refuse them
    │   └── BenchmarkLeakError      rows of the benchmark stand in the training data
    ├── ModelError                a model cannot be loaded, trained or used
    │   ├── UntrustedModelError     loading it would run code from the file
    │   ├── ModelDigestError        its files are not those that were recorded
    │   ├── ModelSignatureError     the table is not what it predicts from
    │   ├── ModelNotFoundError      no model answers to the given address or digest
    │   ├── TrainingError           a fit did not succeed
    │   └── PromotionError          an alias may not be moved, or somebody else has moved it
    ├── TrackingError             facts about a run cannot be recorded or shipped
    │   ├── InvalidFactError        a name or value cannot be recorded
    │   ├── JournalError            the local journal is damaged, locked or unwritable
    │   ├── TrackingServerError     the tracking server refused or did not answer
    │   ├── RunNotFoundError        no run answers to the given name
    │   ├── DatasetNotFoundError    no recorded dataset answers to the given name or digest
    │   └── BenchmarkLedgerError    a benchmark takes no decision, or what is declared of it does not fit
    ├── SigningKeyError           a signing key cannot be made, read or used
    ├── StatementError            a statement, or what it is signed with, is refused
    ├── ReproductionError         an evaluation cannot be done again from what is on record
    ├── ExecutionError            work cannot be done in other processes
    └── NotOfflineError           a test tried to leave this machine
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "BenchmarkLeakError",
    "BenchmarkLedgerError",
    "ConfigurationError",
    "ContractViolationError",
    "DataError",
    "DatasetNotFoundError",
    "DuplicateRowsError",
    "ExecutionError",
    "HokusaiError",
    "InvalidFactError",
    "JournalError",
    "ModelDigestError",
    "ModelError",
    "ModelNotFoundError",
    "ModelSignatureError",
    "NotOfflineError",
    "PersonalDataError",
    "PromotionError",
    "ReproductionError",
    "RunNotFoundError",
    "SchemaMismatchError",
    "SigningKeyError",
    "StatementError",
    "TableLimitError",
    "TrackingError",
    "TrackingServerError",
    "TrainingError",
    "UnreadableTableError",
    "UntrustedModelError",
    "ValueMismatchError",
]


StatementReason = Literal[
    "too large",
    "not JSON",
    "truncated",
    "duplicate key",
    "not a number",
    "not canonical",
    "statement type",
    "predicate type",
    "unknown field",
    "missing field",
    "wrong type",
    "wrong value",
    "claim digest",
    "rule digest",
    "subjects",
    "another evaluation",
    "not signed",
    "payload type",
    "base64",
    "algorithm",
    "repeated signature",
    "wrong signature",
    "unknown key",
    "endorsement",
]
"""Why a statement, an envelope or an endorsement is refused."""
_MOST_NAMES = 30


class HokusaiError(Exception):
    """The root of every error that Hokusai raises on purpose."""

    exit_code = 2


class ConfigurationError(HokusaiError):
    """A setting is unknown, of the wrong type, or missing.

    Attributes:
        problem: What is wrong, without the place.
        key: The setting's dotted name, such as ``training.seeds``; empty when the whole file is at fault.
        source: Where the value came from: a file, ``environment variable NAME``, ``command line``, or ``code``.
        line: The line in ``source``, counted from 1, or None where it cannot be known.
    """

    def __init__(self, problem: str, *, key: str = "", source: str = "code", line: int | None = None) -> None:
        self.problem, self.key, self.source, self.line = problem, key, source, line
        where = source if line is None else f"{source}, line {line}"
        super().__init__(f"{where}: {key}: {problem}" if key else f"{where}: {problem}")


class DataError(HokusaiError):
    """A table cannot be used.

    Attributes:
        source: The file, or the name, of the table.
    """

    def __init__(self, source: str, problem: str) -> None:
        self.source = source
        super().__init__(f"{source}: {problem}")


class UnreadableTableError(DataError):
    """A file's bytes are not a table in the declared format."""


class TableLimitError(UnreadableTableError):
    """A table is beyond a limit that guards against bombs and accidents.

    Attributes:
        limit: The setting that holds the limit, such as ``data.limits.max_rows``.
        allowed: The limit.
    """

    def __init__(self, source: str, *, limit: str, got: str, allowed: int, unit: str, advice: str = "") -> None:
        self.limit, self.allowed = limit, allowed
        problem = f"{got}, expected at most {allowed:,} {unit}. "
        super().__init__(source, f"{problem}{advice or 'Split the file'}, or raise {limit}.")


class SchemaMismatchError(DataError):
    """A table lacks columns that the evaluation needs.

    Attributes:
        missing: The columns that are not there, sorted.
        found: The columns that are, in the file's order.
    """

    def __init__(self, source: str, *, missing: Collection[str], found: Collection[str], hint: str = "") -> None:
        self.missing, self.found = tuple(sorted(missing)), tuple(found)
        super().__init__(
            source,
            f"missing columns {_listed(self.missing)}; found {_listed(self.found)}. "
            f"{hint or 'Rename them in the file, or list the columns to use under data.features.'}",
        )


def _listed(names: Collection[str]) -> str:
    shown = [repr(name) for name in names][:_MOST_NAMES]
    return ", ".join(shown) + (f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else "")


class ValueMismatchError(DataError):
    """A value does not fit the type of its column.

    Attributes:
        column: The column's name.
        row: The data row, counted from 1 without the header.
        value: The offending text, shortened to 80 characters.
        expected: The type that the column has.
    """

    def __init__(self, source: str, *, column: str, row: int, value: str, expected: str, hint: str = "") -> None:
        self.column, self.row, self.expected = column, row, expected
        self.value = value if len(value) <= 80 else value[:77] + "..."
        super().__init__(
            source,
            f"column {column!r}, data row {row}: got {self.value!r}, expected {expected}. "
            f"{hint or 'Mend the value, or declare the type of the column under data.types.'}",
        )


class ContractViolationError(DataError):
    """A table breaks the data contract.

    Attributes:
        contract: The contract's file.
        violations: One sentence for each broken rule.
    """

    def __init__(self, source: str, *, contract: str, violations: Collection[str]) -> None:
        self.contract, self.violations = contract, tuple(violations)
        more = f" (and {len(self.violations) - 1} more)" if len(self.violations) > 1 else ""
        super().__init__(
            source,
            f"breaks the contract {contract}: {self.violations[0]}{more}. "
            "Mend the rows, or change the contract if it is wrong; `hokusai check` lists every finding.",
        )


class PersonalDataError(DataError):
    """Personal data stand in a table, and the policy is to refuse them. The message holds counts, never a value.

    Attributes:
        found: Pairs of column and kind.
    """

    def __init__(self, source: str, *, found: Collection[tuple[str, str]]) -> None:
        self.found = tuple(found)
        places = ", ".join(f"{kind} in column {column!r}" for column, kind in self.found)
        super().__init__(
            source,
            f"personal data: {places}; expected none. Take them out, or set what to do with each kind under "
            "data.personal_data: drop, mask or hash. `hokusai check` counts what was found.",
        )


class DuplicateRowsError(DataError):
    """Contributed rows are not new, and the policy is to refuse them.

    Attributes:
        rows: How many rows stand elsewhere.
    """

    def __init__(self, source: str, *, rows: int, where: str) -> None:
        self.rows = rows
        super().__init__(
            source,
            f"{rows} rows stand in {where} already, expected none. "
            'Take them out, or set data.duplicates = "remove" to evaluate without them.',
        )


class BenchmarkLeakError(DataError):
    """Rows of the benchmark stand in the training data, and the policy is to refuse them.

    Attributes:
        rows: How many rows of the table stand in the benchmark.
    """

    def __init__(self, source: str, *, rows: int) -> None:
        self.rows = rows
        super().__init__(
            source,
            f"{rows} rows stand in the benchmark, expected none. "
            'Take them out, or set data.benchmark_overlap = "remove" to evaluate without them.',
        )


class ModelError(HokusaiError):
    """A model cannot be loaded, trained or used."""


class UntrustedModelError(ModelError):
    """Loading a model file would run code that the file brings along, or end the process where nothing can check it.

    Attributes:
        source: The file or address of the model.
        reason: Why it is not loaded.
        sha256: SHA-256 of the file, or of the list of all files of the folder; empty where it is not known.
    """

    def __init__(self, source: str, reason: str, *, sha256: str = "") -> None:
        self.source, self.reason, self.sha256 = source, reason, sha256
        own = f'trusted_sha256 = "{sha256}"' if sha256 else "its SHA-256 as trusted_sha256"
        known = f"; its SHA-256 is {sha256}" if sha256 else ""
        super().__init__(
            f"{source}: refused: {reason}{known}. Either save the model as skops (skops.io.dump) and give that file "
            f"instead, or trust exactly this one: write {own} under [baseline]."
        )


class ModelDigestError(ModelError):
    """A model's files are not those that were recorded: something was swapped, edited or lost.

    Attributes:
        source: The address or file of the model.
        what: What differs, such as ``model.skops``.
        expected: The recorded SHA-256; empty when nothing was recorded of it.
        found: The SHA-256 of what is there; empty when there is nothing.
    """

    def __init__(self, source: str, *, what: str, expected: str, found: str) -> None:
        self.source, self.what, self.expected, self.found = source, what, expected, found
        recorded = f"SHA-256 {expected} was recorded" if expected else "nothing was recorded of it"
        there = f"SHA-256 {found} is there" if found else "it is not there"
        super().__init__(
            f"{source}: {what} is not what was recorded: {recorded}, {there}. The files were changed after the model "
            "was logged; use another version, or train and register the model again."
        )


class ModelSignatureError(ModelError):
    """A table is not what a model predicts from.

    Attributes:
        source: The address or file of the model.
        missing: Columns that the model needs and the table lacks.
        mismatched: Per column of another type: its name, the type that the model needs, the type that is there.
    """

    def __init__(
        self, source: str, *, missing: Collection[str] = (), mismatched: Collection[tuple[str, str, str]] = ()
    ) -> None:
        self.source, self.missing, self.mismatched = source, tuple(sorted(missing)), tuple(sorted(mismatched))
        problems = [f"needs the column {name!r}, which is not among the features" for name in self.missing]
        problems += [f"needs {name!r} as {wanted}, got {found}" for name, wanted, found in self.mismatched]
        super().__init__(
            f"{source}: cannot score the benchmark: {'; '.join(problems)}. Name missing columns under data.features, "
            "declare types under data.types, or give a model that was trained on this table's columns."
        )


class ModelNotFoundError(ModelError):
    """No model answers to the given address, alias or digest.

    Attributes:
        model: What was asked for.
        close: Names or addresses that come near, the nearest first.
    """

    def __init__(self, model: str, *, store: str, close: Collection[str] = ()) -> None:
        self.model, self.close = model, tuple(close)
        hint = f" Did you mean {', '.join(self.close)}?" if close else ""
        super().__init__(
            f"no model {model!r} in {store}, expected models:/name/version, models:/name@alias, runs:/id/path, the id "
            f"of a logged model, or a digest.{hint} List what is there with `hokusai model list`."
        )


class TrainingError(ModelError):
    """A fit did not succeed.

    Attributes:
        trainer: The trainer's name.
        seed: The seed of the fit.
        reason: One sentence.
    """

    def __init__(self, trainer: str, *, seed: int, reason: str) -> None:
        self.trainer, self.seed, self.reason = trainer, seed, reason
        super().__init__(f"{trainer}, seed {seed}: the fit failed: {reason}")

    def __reduce__(self) -> tuple[object, ...]:
        """Travel between processes whole."""
        return _training_error, (self.trainer, self.seed, self.reason)


def _training_error(trainer: str, seed: int, reason: str) -> TrainingError:
    return TrainingError(trainer, seed=seed, reason=reason)


class PromotionError(ModelError):
    """An alias may not be moved, or somebody else has moved it in the meantime.

    Attributes:
        address: The model version that was to get the alias.
        alias: The alias.
    """

    exit_code = 1

    def __init__(self, address: str, *, alias: str, problem: str) -> None:
        self.address, self.alias = address, alias
        super().__init__(f"{address} does not become {alias!r}: {problem}")


class TrackingError(HokusaiError):
    """Facts about a run cannot be recorded or shipped."""


class InvalidFactError(TrackingError):
    """A name or value that a step wants to record cannot be recorded as it is; nothing of that call was.

    Attributes:
        run: The run's key; empty where no run is known.
        fact: What was to be recorded, such as ``parameter 'C'``.
    """

    def __init__(self, run: str, fact: str, problem: str) -> None:
        self.run, self.fact = run, fact
        super().__init__(f"run {run}: {fact}: {problem}" if run else f"{fact}: {problem}")


class JournalError(TrackingError):
    """The local journal is damaged, locked by another process, or cannot be written."""


class TrackingServerError(TrackingError):
    """The tracking server refused a request or did not answer.

    Attributes:
        store: The tracking URI, without credentials.
        is_outage: Whether the same request may succeed later; False when the server refused it for good.
    """

    exit_code = 1

    def __init__(self, store: str, problem: str, *, is_outage: bool, advice: str = "") -> None:
        self.store, self.is_outage = store, is_outage
        usual = "Start it again, then run `hokusai sync`." if is_outage else "Mend that, then run `hokusai sync`."
        advice = advice or usual
        super().__init__(f"{store}: {problem} What was recorded is safe in the journal. {advice}")

    @classmethod
    def repeat(cls, store: str, message: str) -> TrackingServerError:
        """Return an outage whose message another process has written already, whole."""
        error = cls(store, "", is_outage=True)
        error.args = (message,)
        return error


class RunNotFoundError(TrackingError):
    """No run answers to the given name.

    Attributes:
        run: What was asked for.
    """

    def __init__(self, run: str, *, store: str) -> None:
        self.run = run
        super().__init__(
            f"no run {run!r} in {store}, expected a run id, its first characters, or a run name. "
            "List what is there with `hokusai runs`."
        )


class DatasetNotFoundError(TrackingError):
    """No recorded dataset answers to the given name or digest.

    Attributes:
        dataset: What was asked for.
    """

    def __init__(self, dataset: str, *, store: str) -> None:
        self.dataset = dataset
        super().__init__(
            f"no dataset {dataset!r} in {store}, expected a content digest, its first characters, or a name. "
            "List what is there with `hokusai dataset list`."
        )


class BenchmarkLedgerError(TrackingError):
    """A benchmark takes no decision, or what was declared of it does not fit what is asked.

    Attributes:
        digest: The benchmark's content digest.
        problem: Why, without the benchmark.
    """

    exit_code = 1

    def __init__(self, digest: str, problem: str) -> None:
        self.digest, self.problem = digest, problem
        super().__init__(f"benchmark {digest[:12]}: {problem}")


class SigningKeyError(HokusaiError):
    """A signing key cannot be made, read or used.

    Attributes:
        source: The key's file.
    """

    def __init__(self, source: str, problem: str) -> None:
        self.source = source
        super().__init__(f"{source}: {problem}")


class StatementError(HokusaiError):
    """A statement, an envelope around one, or an endorsement of a key is refused.

    Attributes:
        source: The file, or the name, of what is refused.
        reason: A fixed word for programs, such as ``duplicate key``; ``docs/formats/statement.md`` lists them all.
        problem: What is wrong, for people, without the place.
    """

    exit_code = 1

    def __init__(self, source: str, *, reason: StatementReason, problem: str) -> None:
        self.source, self.reason, self.problem = source, reason, problem
        super().__init__(f"{source}: refused ({reason}): {problem}")


class ReproductionError(HokusaiError):
    """An evaluation cannot be done again from what is on record of it.

    Attributes:
        evaluation: Its key.
        problem: What is missing, or not what was recorded.
        exit_code: 1 when something is not what was recorded, 2 when something is missing.
    """

    def __init__(self, evaluation: str, problem: str, *, is_changed: bool = False) -> None:
        self.evaluation, self.problem = evaluation, problem
        self.exit_code = 1 if is_changed else 2
        super().__init__(f"evaluation {evaluation}: {problem}")


class ExecutionError(HokusaiError):
    """Work cannot be done in other processes: it cannot be sent to one, or none can be started."""


class NotOfflineError(HokusaiError):
    """A test tried to leave this machine while it had promised not to.

    Attributes:
        host: Where it wanted to go.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"a connection to {host!r} was tried, expected loopback addresses alone. "
            "Give the code a local address, or take the `offline` fixture away from the test."
        )
