"""Moves ``champion`` and the aliases that follow it: the only file of models/ that writes to MLflow.

MLflow moves an alias whatever it named before. So a move is first added to a log whose numbers MLflow gives out one by
one (``NAME.moves``, see :mod:`hokusai.models.promotion`); the log says which of several moves counts, and the aliases
are set to what the log adds up to. A process that dies in between leaves a move that the next one finishes.
"""

from __future__ import annotations

import functools
import secrets
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.errors import ModelDigestError, ModelError, ModelNotFoundError, PromotionError
from hokusai.models.mlflow_registry import ModelRegistry
from hokusai.models.model_checks import check_model
from hokusai.models.promotion import (
    APPLIED_TAG,
    BASELINE,
    CHAMPION,
    LONGEST_REASON,
    MOVES_OF_TAG,
    MOVES_SUFFIX,
    PREVIOUS,
    AliasMove,
    DecisionRecord,
    address_of,
    check_decision,
    evaluation_of,
    move_from_tags,
    move_tags,
    read_moves,
)
from hokusai.models.run_artifacts import MANIFEST_FILE, RUN_MANIFEST_TAG
from hokusai.process_environment import user_name
from hokusai.records import DELTA_FILE, ModelVersion

if TYPE_CHECKING:
    from hokusai.models.promotion import MoveLog

__all__ = ["AliasRegistry", "history", "promote", "rollback"]

_RUN_KEY_TAG = "hokusai.run_key"
_PARENT_TAG = "mlflow.parentRunId"
# MLflow's ViewType.ALL: a run that was deleted to make room for another one counts as well.
_WITH_DELETED = 3
_COMPARING_STEP = "compare_and_output_delta"
_ATTEMPTS = 20


def promote(
    name: str,
    version: str | int = "",
    *,
    uri: str,
    registry_uri: str = "",
    override: bool = False,
    reason: str = "",
    baseline: bool = False,
    host_kind: str = "",
) -> AliasMove:
    """Let a version become ``champion``, and the champion before ``previous``.

    That needs the record of an evaluation that accepted this very model; the version's tags alone are not believed,
    and its files must be what was recorded of them. What that is worth against whoever may write everything in the
    store says :func:`~hokusai.models.promotion.check_decision`.
    Of several promotions at once one wins. When the model has no ``baseline`` yet, the version becomes that as well.

    Args:
        name: The registered model; or the address of a version, such as ``models:/name@candidate``.
        version: A version number, an alias, or an address.
        uri: Tracking URI.
        registry_uri: URI of the model registry; default the tracking URI.
        override: Whether to move the alias although no decision allows it; needs a reason.
        reason: Why; kept with the move.
        baseline: Whether the version becomes ``baseline`` as well, in any case.
        host_kind: What this is called on, kept with the move, such as ``ci``.

    Returns:
        The move, as it is on record.

    Raises:
        PromotionError: No decision allows it, somebody else was faster, or it is champion already.
        ModelDigestError: Its files are not what was recorded; no override helps.
        ModelNotFoundError: There is no such version.
        ModelError: The store does not answer.
    """
    address = address_of(name, str(version))
    _require_reason(address, reason, is_needed=override)
    registry = AliasRegistry(uri, registry_uri=registry_uri)
    found = registry.find(address)
    if not found.name or (version and found.name != name):
        problem = f"expected a version of {name!r}." if version else "it is no version of a registered model."
        raise PromotionError(address, alias=CHAMPION, problem=problem)
    verdict = check_decision(found, registry.decision_record(found))
    if verdict.problem and not override:
        problem = f"{verdict.problem} Whoever answers for it may pass `--override` with a `--reason`."
        raise PromotionError(found.address, alias=CHAMPION, problem=problem)
    # A decision, and an override too, is about the model that was recorded.
    for item in check_model(found.address, registry=registry).differences:
        raise ModelDigestError(found.address, what=item.path, expected=item.expected, found=item.found)
    log, aliases = registry.finished_log(found.name)
    _require_change(found, log, has_baseline=not baseline or aliases.get(BASELINE) == found.version)
    move = _move(log, champion=aliases.get(CHAMPION, ""), reason=reason, host_kind=host_kind)
    return registry.make(
        found.name,
        replace(
            move,
            action="promote",
            version=found.version,
            baseline=found.version if baseline or BASELINE not in aliases else "",
            decision=verdict.decision,
            evaluation=evaluation_of(found),
            delta_sha256=verdict.delta_sha256,
            override=bool(verdict.problem),
            problem=verdict.problem,
        ),
    )


def rollback(name: str, *, uri: str, registry_uri: str = "", reason: str = "", host_kind: str = "") -> AliasMove:
    """Let the version that was champion before become ``champion`` again.

    ``previous`` becomes the champion before that one, so that another rollback goes one further back.

    Args:
        name: The registered model.
        uri: Tracking URI.
        registry_uri: URI of the model registry; default the tracking URI.
        reason: Why; kept with the move.
        host_kind: What this is called on, kept with the move, such as ``ci``.

    Returns:
        The move, as it is on record.

    Raises:
        PromotionError: There was no champion before, its version was deleted, or somebody else was faster.
        ModelNotFoundError: There is no such model.
        ModelError: The store does not answer.
    """
    address = f"models:/{name}@{PREVIOUS}"
    _require_reason(address, reason, is_needed=False)
    registry = AliasRegistry(uri, registry_uri=registry_uri)
    log, aliases = registry.finished_log(name)
    version = log.state.previous
    if not version:
        raise PromotionError(address, alias=CHAMPION, problem="no version was champion before the present one.")
    try:
        registry.find(f"models:/{name}/{version}")
    except ModelNotFoundError as error:
        problem = f"version {version}, which was champion before, has been deleted. Promote another one."
        raise PromotionError(address, alias=CHAMPION, problem=problem) from error
    move = _move(log, champion=aliases.get(CHAMPION, ""), reason=reason, host_kind=host_kind)
    return registry.make(name, replace(move, action="rollback", version=version))


def history(name: str, *, uri: str, registry_uri: str = "") -> tuple[AliasMove, ...]:
    """Return every move of a model's ``champion``, the oldest first.

    Moves that lost against another one are among them, and moves that somebody made in MLflow itself, as far as they
    were noticed: nobody knows who made those, and when.

    Args:
        name: The registered model.
        uri: Tracking URI.
        registry_uri: URI of the model registry; default the tracking URI.

    Raises:
        ModelNotFoundError: There is no such model.
        ModelError: The store does not answer.
    """
    registry = AliasRegistry(uri, registry_uri=registry_uri)
    aliases = registry.aliases(name)
    return registry.read_log(name).noticing(aliases.get(CHAMPION, "")).moves


class AliasRegistry(ModelRegistry):
    """The aliases of registered models and the logs of their moves, in one MLflow store."""

    def aliases(self, name: str) -> dict[str, str]:
        """Return the version that each alias of a registered model names."""
        with self._translated(f"models:/{name}"):
            found = self._client.get_registered_model(name).aliases
        return {alias: str(version) for alias, version in found.items()}

    def read_log(self, name: str) -> MoveLog:
        """Return the moves of a registered model, and what they add up to."""
        try:
            entries = self.versions(name + MOVES_SUFFIX)
        except ModelNotFoundError:
            return read_moves(())
        moves = (move_from_tags(int(entry.version), entry.tags) for entry in entries)
        return read_moves(move for move in moves if move)

    def finished_log(self, name: str) -> tuple[MoveLog, dict[str, str]]:
        """Return the moves and the aliases, after the last move has been finished if whoever made it has died."""
        log, aliases = self.read_log(name), self.aliases(name)
        seen = log.noticing(aliases.get(CHAMPION, ""))
        if not log.is_finished and seen is log:
            self._settle(name)
            log, aliases = self.read_log(name), self.aliases(name)
            seen = log.noticing(aliases.get(CHAMPION, ""))
        return seen, aliases

    def make(self, name: str, move: AliasMove) -> AliasMove:
        """Add a move to the log and, if it counts, let the aliases follow.

        Raises:
            PromotionError: Another move was faster.
        """
        self._append(name, move)
        log = self.read_log(name)
        if not log.won(move.key):
            raise _lost(name, move, log.winner_over(move))
        self._settle(name)
        return next(item for item in self.read_log(name).moves if item.key == move.key)

    def decision_record(self, version: ModelVersion) -> DecisionRecord | None:
        """Return what the store holds of the decision of the evaluation that a version names, or None."""
        evaluation = evaluation_of(version)
        if not evaluation or not version.run_id:
            return None
        try:
            with self._translated(f"runs:/{version.run_id}"):
                parent = self._client.get_run(version.run_id)
                # The key is of letters, digits and a few signs.
                condition = f"tags.`{_RUN_KEY_TAG}` = '{evaluation}:{_COMPARING_STEP}'"
                runs = self._client.search_runs([parent.info.experiment_id], condition, run_view_type=_WITH_DELETED)
        except ModelNotFoundError:
            return None
        run = next((run for run in runs if run.info.lifecycle_stage == "active"), None)
        if run is None:
            return None
        names = (DELTA_FILE, MANIFEST_FILE)
        with self._translated(f"runs:/{run.info.run_id}"):
            listed = {item.path for item in self._client.list_artifacts(run.info.run_id)}
        if not listed.issuperset(names):
            return None
        place = ModelVersion(address=f"runs:/{run.info.run_id}", location=run.info.artifact_uri)
        with tempfile.TemporaryDirectory(prefix="hokusai-") as folder:
            self.files(place).fetch(names, Path(folder))
            delta, manifest = (Path(folder, name).read_bytes() for name in names)
        return DecisionRecord(
            delta=delta,
            manifest=manifest,
            manifest_digest=run.data.tags.get(RUN_MANIFEST_TAG, ""),
            runs=len(runs),
            is_of_version=run.data.tags.get(_PARENT_TAG) == version.run_id
            and parent.data.tags.get(_RUN_KEY_TAG) == evaluation,
        )

    def _append(self, name: str, move: AliasMove) -> None:
        from mlflow.exceptions import MlflowException

        log = name + MOVES_SUFFIX
        make = functools.partial(
            self._client.create_model_version,
            log,
            # No address of the model itself: MLflow would count the entry among the models of the model's run.
            source=f"hokusai-move:/{move.version}",
            tags=move_tags(move),
            description=f"{move.action}: {CHAMPION} of {name} from {move.found or 'none'} to {move.version}",
            await_creation_for=None,  # type: ignore[arg-type]  # None is MLflow's way to say: do not poll
        )
        with self._translated(f"models:/{name}"):
            try:
                make()
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                self._make_log(log, name=name)
                make()

    def _make_log(self, log: str, *, name: str) -> None:
        from mlflow.exceptions import MlflowException

        description = f"The moves of the aliases of {name}, each as a version; see `hokusai model history`."
        try:
            self._client.create_registered_model(log, {MOVES_OF_TAG: name}, description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _settle(self, name: str) -> None:
        """Set the aliases to what the log adds up to, and note that they are.

        Whoever has set them looks again: a process that was held up may have set them to what an earlier move said.
        """
        deleted = set[str]()
        for _ in range(_ATTEMPTS):
            log, aliases = self.read_log(name), self.aliases(name)
            previous = log.state.previous
            wanted = {CHAMPION: log.state.champion, PREVIOUS: "" if previous in deleted else previous}
            if log.last is not None and log.last.baseline:
                wanted[BASELINE] = log.last.baseline
            changes = {alias: version for alias, version in wanted.items() if aliases.get(alias, "") != version}
            if not changes:
                if log.last is not None and not log.last.is_applied:
                    with self._translated(name):
                        number = str(log.last.number)
                        self._client.set_model_version_tag(name + MOVES_SUFFIX, number, APPLIED_TAG, "true")
                return
            for alias, version in changes.items():
                try:
                    self._set_alias(name, alias, version)
                except ModelNotFoundError:
                    if alias != PREVIOUS:
                        raise
                    deleted.add(version)
        msg = f"{name}: somebody keeps moving its aliases elsewhere. See who with `hokusai model history`."
        raise ModelError(msg)

    def _set_alias(self, name: str, alias: str, version: str) -> None:
        with self._translated(f"models:/{name}/{version}"):
            if version:
                self._client.set_registered_model_alias(name, alias, version)
            else:
                self._client.delete_registered_model_alias(name, alias)


def _require_reason(address: str, reason: str, *, is_needed: bool) -> None:
    if is_needed and not reason.strip():
        raise PromotionError(address, alias=CHAMPION, problem="an override needs a reason.")
    if len(reason) > LONGEST_REASON:
        problem = f"the reason has {len(reason)} characters, expected at most {LONGEST_REASON}."
        raise PromotionError(address, alias=CHAMPION, problem=problem)


def _require_change(version: ModelVersion, log: MoveLog, *, has_baseline: bool) -> None:
    if log.state.champion == version.version and has_baseline:
        since = f", by move {log.last.number} of {log.last.user}" if log.last else ""
        raise PromotionError(version.address, alias=CHAMPION, problem=f"it is that already{since}.")


def _move(log: MoveLog, *, champion: str, reason: str, host_kind: str) -> AliasMove:
    """Return what every move says of itself."""
    return AliasMove(
        key=secrets.token_hex(8),
        based_on=log.state.last,
        found=champion,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        user=user_name(),
        host_kind=host_kind,
        reason=reason,
    )


def _lost(name: str, move: AliasMove, winner: AliasMove | None) -> PromotionError:
    problem = "another move was faster."
    if winner is not None:
        what = f"{CHAMPION} to version {winner.version}"
        problem = f"{winner.user} moved {what} at {winner.at}, while this was under way (move {winner.number})."
    advice = "Look at it with `hokusai model history`, then try again."
    return PromotionError(f"models:/{name}/{move.version}", alias=CHAMPION, problem=f"{problem} {advice}")
