"""Moves the alias ``champion`` of a registered model, from Python; ``hokusai model promote`` and its like call this."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hokusai.config import complete_tracking
from hokusai.models import mlflow_aliases
from hokusai.tracking.mlflow_config import resolve_store
from hokusai.tracking.naming import HOST_KIND_TAG
from hokusai.tracking.secrets import redact_text
from hokusai.tracking.surroundings import host_tags

if TYPE_CHECKING:
    from hokusai.models.promotion import AliasMove
    from hokusai.tracking.mlflow_config import TrackingSettings

__all__ = ["model_history", "promote_model", "rollback_model"]


def promote_model(
    name: str,
    version: str | int = "",
    *,
    settings: TrackingSettings | None = None,
    override: bool = False,
    reason: str = "",
    baseline: bool = False,
) -> AliasMove:
    """Let a version become ``champion``, and the champion before ``previous``.

    That needs the record of an evaluation that accepted this very model, whose files must be what was recorded of them.
    Of several promotions at once one wins. When the model has no ``baseline`` yet, the version becomes that as well.

    Args:
        name: The registered model; or the address of a version, such as ``models:/name@candidate``.
        version: A version number, an alias, or an address.
        settings: Where the store is; default the environment, else ``mlflow.db`` in the current folder.
        override: Whether to move the alias although no decision allows it; needs a reason.
        reason: Why; kept with the move.
        baseline: Whether the version becomes ``baseline`` as well, in any case.

    Returns:
        The move, as it is on record.

    Raises:
        PromotionError: No decision allows it, somebody else was faster, or it is champion already.
        ModelDigestError: Its files are not what was recorded; no override helps.
        ModelNotFoundError: There is no such version.
        ModelError: The store does not answer.
    """
    store = complete_tracking(settings)
    return mlflow_aliases.promote(
        name,
        version,
        uri=resolve_store(store),
        registry_uri=store.registry_uri,
        override=override,
        reason=redact_text(reason),
        baseline=baseline,
        host_kind=host_tags()[HOST_KIND_TAG],
    )


def rollback_model(name: str, *, settings: TrackingSettings | None = None, reason: str = "") -> AliasMove:
    """Let the version that was champion before become ``champion`` again.

    ``previous`` becomes the champion before that one, so that another call goes one further back.

    Args:
        name: The registered model.
        settings: Where the store is; default the environment, else ``mlflow.db`` in the current folder.
        reason: Why; kept with the move.

    Returns:
        The move, as it is on record.

    Raises:
        PromotionError: There was none before, or somebody else was faster.
        ModelNotFoundError: There is no such model.
        ModelError: The store does not answer.
    """
    store = complete_tracking(settings)
    return mlflow_aliases.rollback(
        name,
        uri=resolve_store(store),
        registry_uri=store.registry_uri,
        reason=redact_text(reason),
        host_kind=host_tags()[HOST_KIND_TAG],
    )


def model_history(name: str, *, settings: TrackingSettings | None = None) -> tuple[AliasMove, ...]:
    """Return every move of a model's champion: who, when, why, from which version to which.

    Args:
        name: The registered model.
        settings: Where the store is; default the environment, else ``mlflow.db`` in the current folder.

    Raises:
        ModelNotFoundError: There is no such model.
        ModelError: The store does not answer.
    """
    store = complete_tracking(settings)
    return mlflow_aliases.history(name, uri=resolve_store(store), registry_uri=store.registry_uri)
