"""The command line's grammar: every command, flag and help text.

Paths stay texts here: ``pathlib`` alone would make ``--help`` a fifth slower.
"""

from __future__ import annotations

import argparse

__all__ = ["make_parser"]

DEFAULT_FILE = "evaluation.toml"
_MOST_DAYS = 36_500
_DESCRIPTION = "Measure, and prove, what contributed data is worth to a model; every step tracked in MLflow."
_EXIT_CODES = (
    "exit codes: 0 done; 1 the decision is not `accept`, or a check failed; 2 bad usage or bad input. "
    "settings: a flag beats the environment (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, HOKUSAI_SECTION_KEY), "
    "which beats the file, which beats the default."
)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; a parsed command names the module and function to call."""
    parser = argparse.ArgumentParser(prog="hokusai", description=_DESCRIPTION, epilog=_EXIT_CODES)
    parser.add_argument("--version", action=_PrintVersion, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_evaluating_commands(commands)
    _add_data_commands(commands)
    _add_reading_commands(commands)
    _add_audit_command(commands)
    _add_reproduction_command(commands)
    _add_verify_command(commands)
    _add_experiment_commands(commands)
    _add_model_commands(commands)
    _add_benchmark_commands(commands)
    _add_key_commands(commands)
    _add_journal_commands(commands)
    return parser


class _PrintVersion(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"hokusai {version('hokusai-pipeline')}")
        parser.exit()


def _add_evaluating_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = _command(commands, "demo", "demo", "evaluate three real contributions to a penguin classifier")
    demo.add_argument("--tracking-uri", metavar="URI", help="MLflow tracking URI (default: ./mlflow.db)")

    init = _command(commands, "demo", "init", "write a commented evaluation.toml and example data into a folder")
    init.add_argument("folder", nargs="?", default=".", help="an empty folder (default: this one)")

    run = _command(commands, "evaluate", "run", "run one evaluation; exits 1 when the decision is not `accept`")
    run.add_argument("file", nargs="?", default=DEFAULT_FILE, help=f"default: {DEFAULT_FILE}")
    run.add_argument("--json", action="store_true", help="print the report (delta.json) instead of tables")
    _add_overrides(run)

    config = _command(commands, "evaluate", "config", "print every setting and where its value comes from")
    config.add_argument("file", nargs="?", default=DEFAULT_FILE, help=f"default: {DEFAULT_FILE}")
    _add_overrides(config)


def _add_data_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = _command(commands, "check", "check", "check a contributed file before it is handed over")
    check.add_argument(
        "file", metavar="FILE", help="the contribution: a file, a folder of files, or a pattern in quotes"
    )
    check.add_argument(
        "--config", default=DEFAULT_FILE, metavar="FILE", help=f"the evaluation (default: {DEFAULT_FILE})"
    )
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.add_argument("--html", metavar="FILE", help="write the report as a page as well")
    check.add_argument(
        "--fail-on",
        choices=("error", "warning", "never"),
        default="error",
        help="exit with 1 from this severity on (default: error)",
    )

    contract = _group(commands, "contract", "make the data contract that contributions must keep")
    infer = _command(contract, "contract", "infer", "write the contract that the base data keep, to be edited")
    infer.add_argument("file", nargs="?", metavar="FILE", help="base data (default: data.base of the configuration)")
    infer.add_argument("--config", metavar="FILE", help=f"the evaluation (default: {DEFAULT_FILE} if there)")
    infer.add_argument("--label", metavar="COLUMN", help="the column to predict")
    infer.add_argument(
        "--key", action="append", default=[], metavar="COLUMN", help="what rows are told apart by; may be repeated"
    )
    infer.add_argument("--output", metavar="FILE", help="where to write it (default: the terminal)")
    infer.add_argument("--force", action="store_true", help="replace the file if it is there")

    _add_dataset_commands(_group(commands, "dataset", "list, show, compare, verify and trace recorded datasets"))


def _add_dataset_commands(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    naming = "a content digest, its first characters, or a dataset's name"

    every = _command(group, "dataset", "list", "list every dataset version that the store has recorded")
    every.set_defaults(function="list_all")
    show = _command(group, "dataset", "show", "print one dataset version: columns, counts, parents, files")
    show.add_argument("dataset", metavar="DATASET", help=naming)
    diff = _command(group, "dataset", "diff", "what changed between two dataset versions or files")
    diff.add_argument("first", metavar="A", help=f"{naming}, or a file")
    diff.add_argument("second", metavar="B", help=f"{naming}, or a file")
    verify = _command(group, "dataset", "verify", "does this file still have that content? exits 1 when it has not")
    verify.add_argument("file", metavar="FILE", help="the file")
    verify.add_argument("dataset", nargs="?", metavar="DATASET", help=f"{naming} (default: look the content up)")
    lineage = _command(group, "dataset", "lineage", "what a dataset was made from, and which runs and models used it")
    lineage.add_argument("dataset", metavar="DATASET", help=naming)
    for parser in (every, show, diff, verify, lineage):
        parser.add_argument("--json", action="store_true", help="print it as JSON")
        _add_store(parser)

    integrate = _command(
        group,
        "integrate",
        "integrate",
        "write base and contributions as one Parquet file, however large, and train nothing",
    )
    integrate.add_argument("file", nargs="?", default=DEFAULT_FILE, help=f"the evaluation (default: {DEFAULT_FILE})")
    integrate.add_argument("--parquet", required=True, metavar="FILE", help="where to write the integrated table")
    _add_overrides(integrate)


def _add_reading_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    runs = _command(commands, "store", "runs", "list the newest evaluations of the store")
    runs.add_argument("--limit", type=int, default=20, metavar="N", help="at most N evaluations (default: 20)")
    _add_store(runs)

    show = _command(commands, "store", "show", "print one run: parameters, metrics, datasets, artifacts, steps")
    show.add_argument("run", metavar="RUN", help="a run id, its first characters, or a run name")
    _add_store(show)

    ui = _command(commands, "store", "ui", "open the MLflow UI on the store in use")
    ui.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    ui.add_argument("--port", type=int, default=5000, help="the first free port from here on (default: 5000)")
    ui.add_argument("--no-browser", action="store_true", help="print the address only")
    _add_store(ui)

    sync = _command(commands, "store", "sync", "ship what an outage or a dead process left in the journals")
    sync.add_argument("--all", action="store_true", help="send again what was shipped as well; nothing is there twice")
    sync.add_argument("journals", nargs="*", metavar="JOURNAL", help="journal folders (default: all)")
    _add_store(sync)

    doctor = _command(commands, "doctor", "doctor", "check the tracking store, and what was left behind")
    doctor.add_argument("--repair", action="store_true", help="ship left journals, close runs that nobody can close")
    doctor.add_argument("--json", action="store_true", help="print the checks as JSON")
    doctor.add_argument(
        "--lost-after", type=float, default=24.0, metavar="HOURS", help="a run silent for so long is lost (default: 24)"
    )
    _add_store(doctor)


def _add_audit_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    audit = _command(
        commands, "audit", "audit", "compare what MLflow holds of a run with its journal; exits 1 when they differ"
    )
    audit.add_argument("run", metavar="RUN", help="a run id, its first characters, a run name or a run key")
    source = audit.add_mutually_exclusive_group()
    source.add_argument("--journal", metavar="FOLDER", help="the journal's folder (default: found by the run's tags)")
    source.add_argument(
        "--without-journal", action="store_true", help="check MLflow's own record against its digests alone"
    )
    audit.add_argument("--json", action="store_true", help="print the report as JSON")
    _add_store(audit)


def _add_verify_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verify = _command(
        commands, "verify", "verify", "does what a statement claims still hold? exits 1 when anything speaks against it"
    )
    verify.add_argument("statement", metavar="STATEMENT", help="a statement's file, signed or not")
    verify.add_argument(
        "--key", action="append", default=[], metavar="PUB", help="a public key that is trusted; may be repeated"
    )
    verify.add_argument(
        "--endorsement",
        action="append",
        default=[],
        metavar="FILE",
        help="an endorsement of a newer key, the oldest first; may be repeated",
    )
    verify.add_argument("--evaluation", default="", metavar="KEY", help="the evaluation that it has to be about")
    verify.add_argument("--delta", metavar="FILE", help="the report (default: delta.json beside the statement)")
    verify.add_argument(
        "--row-scores", metavar="FILE", help="row_scores.parquet (default: beside the statement, else from the store)"
    )
    verify.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a table, or the model, to compare with what is claimed of it; may be repeated",
    )
    verify.add_argument(
        "--reproduce", action="store_true", help="also do the evaluation again from the store, and compare the claims"
    )
    verify.add_argument("--json", action="store_true", help="print every check as JSON")
    _add_store(verify)


def _add_reproduction_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    again = _command(
        commands, "reproduce", "reproduce", "do a recorded evaluation again and compare; exits 1 when it differs"
    )
    again.add_argument("run", metavar="RUN", help="a run id, its first characters, a run name or an evaluation's key")
    again.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a file that is not stored: base, benchmark, decoy, contract, baseline, or a table; may be repeated",
    )
    again.add_argument("--benchmark-key", metavar="FILE", help="the key that splits the benchmark")
    again.add_argument("--hash-key", metavar="FILE", help="the key that personal data were hashed with")
    again.add_argument(
        "--trust-code",
        action="store_true",
        help="run the evaluation's own code, or a model that runs code when it is loaded, here",
    )
    again.add_argument(
        "--env",
        choices=("current", "fresh"),
        default="current",
        help="fresh: in a temporary virtual environment with the recorded packages, by pip (default: current)",
    )
    again.add_argument("--workers", type=int, metavar="N", help="fits at the same time (default: as recorded)")
    again.add_argument(
        "--tolerance", type=float, default=1e-9, metavar="X", help="relative tolerance of numbers (default: 1e-9)"
    )
    again.add_argument("--json", action="store_true", help="print reproduction.json")
    _add_store(again)


def _add_experiment_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    group = _group(commands, "experiments", "list the experiments of the store, archive and restore them")

    every = _command(group, "experiments", "list", "list the experiments in use, the last changed first")
    every.add_argument("--archived", action="store_true", help="list the archived ones instead")
    every.set_defaults(function="list_all")
    _add_store(every)

    archive = _command(group, "experiments", "archive", "hide an experiment and its runs; nothing is lost")
    archive.add_argument("name", metavar="NAME", help="the experiment's name")
    archive.add_argument("--force", action="store_true", help="even while an evaluation runs into it")
    _add_store(archive)

    restore = _command(group, "experiments", "restore", "bring an archived experiment back with its runs")
    restore.add_argument("name", metavar="NAME", help="the experiment's name")
    _add_store(restore)


def _add_model_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    group = _group(commands, "model", "fetch and compare registered models, and say which one is in use")
    _add_retrieval_commands(group)

    promote = _command(
        group, "model_aliases", "promote", "let a version become champion; exits 1 when no decision allows it"
    )
    promote.add_argument("model", metavar="NAME|ADDRESS", help="a registered model, or models:/NAME/VERSION alone")
    promote.add_argument("version", nargs="?", default="", metavar="VERSION", help="a number, an @alias or an address")
    promote.add_argument("--override", action="store_true", help="even if no decision allows it; needs --reason")
    promote.add_argument("--reason", default="", metavar="TEXT", help="why; kept in the model's history")
    promote.add_argument("--baseline", action="store_true", help="let it become what evaluations compare with as well")
    rollback = _command(group, "model_aliases", "rollback", "let the version before become champion again")
    rollback.add_argument("model", metavar="NAME", help="a registered model")
    rollback.add_argument("--reason", default="", metavar="TEXT", help="why; kept in the model's history")
    history = _command(group, "model_aliases", "history", "print every move of a model's champion: who, when, why")
    history.add_argument("model", metavar="NAME", help="a registered model")
    for parser in (promote, rollback, history):
        parser.add_argument("--json", action="store_true", help="print it as JSON")
        _add_store(parser)


def _add_retrieval_commands(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    naming = "models:/name/version, models:/name@alias, models:/m-…, runs:/id/path or sha256:…"

    every = _command(group, "model", "list", "list the registered models, or the versions of one")
    every.set_defaults(function="list_all")
    every.add_argument("name", nargs="?", metavar="NAME", help="a registered model (default: list all of them)")
    show = _command(group, "model", "show", "print one model: tags, signature, requirements, files, run, datasets")
    show.add_argument("model", metavar="MODEL", help=naming)
    pull = _command(group, "model", "pull", "fetch a model, or any artifact of a run: whole and checked, or not at all")
    pull.add_argument("model", metavar="MODEL", help=naming)
    pull.add_argument("--to", metavar="FOLDER", help="the folder to make (default: one named after the model)")
    verify = _command(group, "model", "verify", "are the files what was recorded? exits 1 when they are not")
    verify.add_argument("model", metavar="MODEL", help=f"{naming}, or a folder that was pulled")
    verify.add_argument(
        "recorded_as", nargs="?", default="", metavar="VERSION", help="of a folder: the model that it should be"
    )
    diff = _command(group, "model", "diff", "what differs between two models: tags, data, parameters, metrics, files")
    diff.add_argument("first", metavar="A", help=naming)
    diff.add_argument("second", metavar="B", help=naming)
    lineage = _command(group, "model", "lineage", "which data went into a model, or into which models data went")
    meant = lineage.add_mutually_exclusive_group(required=True)
    meant.add_argument("model", nargs="?", metavar="MODEL", help=naming)
    meant.add_argument(
        "--dataset", metavar="DATASET", help="a content digest, its first characters, or the name of who contributed it"
    )
    for parser in (every, show, pull, verify, diff, lineage):
        parser.add_argument("--json", action="store_true", help="print it as JSON")
        _add_store(parser)


def _add_benchmark_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    group = _group(commands, "benchmark", "split a benchmark, declare its decisions, and see what is left of them")
    naming = "a benchmark's file, or its content digest or the first 8 characters of it (default: data.benchmark)"

    show = _command(group, "benchmark", "show", "print what a benchmark was declared for and what is left of it")
    show.add_argument("benchmark", nargs="?", default="", metavar="BENCHMARK", help=naming)
    split = _command(group, "benchmark", "split", "split a benchmark by a secret key, once, for a number of decisions")
    split.set_defaults(benchmark="")
    split.add_argument("--decisions", type=int, required=True, metavar="N", help="it decides N times at most")
    split.add_argument(
        "--alpha",
        type=float,
        default=0.05,
        metavar="X",
        help="probability that any of them accepts a worthless contribution (default: 0.05)",
    )
    split.add_argument(
        "--key-file", metavar="FILE", help="the key; made if it is not there (default: benchmark.key beside the file)"
    )
    split.add_argument("--note", default="", metavar="TEXT", help="why; kept in the ledger")
    budget = _command(group, "benchmark", "budget", "print how many decisions are left, and who spent the others")
    budget.add_argument("benchmark", nargs="?", default="", metavar="BENCHMARK", help=naming)
    retire = _command(group, "benchmark", "retire", "decide nothing on a benchmark any more")
    retire.add_argument("benchmark", nargs="?", default="", metavar="BENCHMARK", help=naming)
    retire.add_argument("--reason", required=True, metavar="TEXT", help="why; kept in the ledger")
    for parser in (show, split, budget, retire):
        parser.add_argument("--json", action="store_true", help="print it as JSON")
        _add_store(parser)


def _add_key_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    group = _group(commands, "keys", "make, show and replace the keys that statements are signed with")
    protection = "FILE whose first line is {} passphrase; - asks for it on the terminal (default: it has none)"

    new = _command(group, "keys", "new", "make a signing key: a private file, and FILE.pub to give away")
    new.add_argument("file", nargs="?", default="hokusai.key", metavar="FILE", help="default: hokusai.key")
    new.add_argument("--passphrase-file", metavar="FILE", help=protection.format("the key's"))
    show = _command(group, "keys", "show", "print a key's id and its public half")
    show.add_argument("file", metavar="FILE", help="a private key's file, or its .pub")
    show.add_argument("--passphrase-file", metavar="FILE", help=protection.format("the private key's"))
    rotate = _command(group, "keys", "rotate", "make a new key that the old one endorses")
    rotate.add_argument("old", metavar="OLD", help="the private key that is in use")
    rotate.add_argument("file", metavar="NEW", help="the new private key's file")
    rotate.add_argument("--passphrase-file", metavar="FILE", help=protection.format("the old key's"))
    rotate.add_argument("--new-passphrase-file", metavar="FILE", help=protection.format("the new key's"))
    for parser in (new, show, rotate):
        parser.add_argument("--json", action="store_true", help="print it as JSON")


def _add_journal_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    group = _group(commands, "journal", "list, show, verify and prune the journals of evaluations")
    naming = "a journal's folder, its key, or the beginning of its key"

    every = _command(group, "journals", "list", "list every journal and how far it has come")
    every.set_defaults(function="list_all")
    _add_store(every)

    show = _command(group, "journals", "show", "print what a journal recorded, one entry a line")
    show.add_argument("journal", metavar="JOURNAL", help=naming)
    show.add_argument("--json", action="store_true", help="print every fact in full, one JSON object a line")
    show.add_argument("--run", metavar="NAME", help="only the entries of the runs with this name or key")
    _add_store(show)

    verify = _command(
        group, "journals", "verify", "check every line and every staged file; exits 1 when one is damaged"
    )
    verify.add_argument("journals", nargs="*", metavar="JOURNAL", help=f"{naming} (default: all)")
    _add_store(verify)

    prune = _command(group, "journals", "prune", "remove journals that were shipped whole and that MLflow confirms now")
    prune.add_argument("journals", nargs="*", metavar="JOURNAL", help=f"{naming} (default: all)")
    prune.add_argument("--older-than", type=_days, metavar="DAYS", help="leave journals alone that are younger")
    prune.add_argument("--dry-run", action="store_true", help="say what would be removed, and change nothing")
    _add_store(prune)


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days <= _MOST_DAYS:
        msg = f"got {text!r}, expected a number of days from 0 to {_MOST_DAYS}"
        raise argparse.ArgumentTypeError(msg)
    return days


def _group(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str
) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    parser = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], module: str, name: str, summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument("--debug", action="store_true", help="show the stack trace of an error")
    parser.set_defaults(module=module, function=name)
    return parser


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow tracking URI")
    parser.add_argument(
        "--config", metavar="FILE", help=f"take the store from this file (default: {DEFAULT_FILE} if there)"
    )


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("settings (they beat the file)")
    for flag, key, metavar, summary in (
        ("--project", "project", "NAME", "project name"),
        ("--base", "data.base", "FILE", "base data"),
        ("--benchmark", "data.benchmark", "FILE", "benchmark"),
        ("--label", "data.label", "COLUMN", "the column to predict"),
        ("--baseline", "baseline.source", "MODEL", "baseline model: models:/…, runs:/…, a folder or a model file"),
        ("--estimator", "training.estimator", "NAME", "what is trained, such as a class of scikit-learn"),
        ("--seeds", "training.seeds", "N", "fits per arm"),
        ("--metric", "delta.metric", "NAME", "the metric that decides"),
        ("--minimum-gain", "delta.minimum_gain", "X", "the gain to clear"),
        ("--confidence", "delta.confidence", "X", "confidence level of the interval"),
        ("--output", "delta.output", "FILE", "where delta.json is written"),
        ("--tracking-uri", "tracking.uri", "URI", "MLflow tracking URI"),
        ("--experiment", "tracking.experiment", "NAME", "MLflow experiment"),
    ):
        group.add_argument(flag, dest=f"setting:{key}", metavar=metavar, help=summary)
    group.add_argument(
        "--contribution",
        action="append",
        metavar="[NAME=]FILE",
        help="contributed file; may be repeated; replaces the ones in the file",
    )
    group.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting, such as data.delimiter=';'"
    )
