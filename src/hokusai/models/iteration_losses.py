"""What estimators say about their iterations, told to a :data:`~hokusai.models.trainers.Progress`.

A loss is better when it is lower, a score when it is higher; both are in the estimator's own unit. LightGBM and XGBoost
tell while they train. scikit-learn's estimators keep a curve that is read after the fit.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator

    from hokusai.models.trainers import Progress

__all__ = ["STOPPING_PARAMETERS", "fit_boosted_trees", "is_boosted_trees", "tell_kept_losses"]

STOPPING_PARAMETERS = ("early_stopping_rounds", "early_stopping_round", "early_stopping", "n_iter_no_change")
"""What estimators call the number of iterations without progress after which they stop."""
# What a library stops by is measured on rows that are not learned from, as many as scikit-learn takes by default.
_VALIDATION_FRACTION = 0.1
_SETS = ("train", "validation")


def is_boosted_trees(estimator: BaseEstimator) -> bool:
    """Return whether an estimator is one of LightGBM or XGBoost."""
    return type(estimator).__module__.partition(".")[0] in ("lightgbm", "xgboost")


def fit_boosted_trees(
    estimator: BaseEstimator,
    matrix: Any,  # noqa: ANN401  (dense or sparse)
    labels: NDArray[np.generic],
    *,
    weights: NDArray[np.float64] | None,
    categories: int,
    seed: int,
    progress: Progress,
) -> None:
    """Fit an estimator of LightGBM or XGBoost, which tells its losses while it trains.

    When its parameters ask for early stopping, a tenth of the rows, drawn with the seed, is kept for that.
    """
    rows = (matrix, labels, weights)
    kept: tuple[Any, ...] | None = None
    parameters = estimator.get_params()
    if any(parameters.get(name) for name in STOPPING_PARAMETERS):
        rows, kept = _split(rows, seed=seed, is_classifier=hasattr(estimator, "predict_proba"))
    sets = [rows] if kept is None else [rows, kept]
    arguments: dict[str, Any] = {"sample_weight": rows[2], "eval_set": [(each[0], each[1]) for each in sets]}
    set_weights = None if weights is None else [each[2] for each in sets]
    if _is_lightgbm(estimator):
        names = ["training", *_SETS[1 : len(sets)]]
        arguments |= {"eval_names": names, "eval_sample_weight": set_weights}
        arguments["callbacks"] = [_LightgbmListener(progress)]
        if categories:
            arguments["categorical_feature"] = list(range(categories))
        with warnings.catch_warnings():
            # What LightGBM 4.7 wants instead fails for classes that are texts, and earlier versions do not know it.
            warnings.filterwarnings("ignore", message="The argument 'eval_set' is deprecated")
            estimator.fit(rows[0], rows[1], **arguments)
        return
    if categories:
        kinds = ["c"] * categories + ["q"] * (matrix.shape[1] - categories)
        estimator.set_params(enable_categorical=True, feature_types=kinds)
    estimator.set_params(callbacks=[_xgboost_listener(progress)])
    estimator.fit(rows[0], rows[1], verbose=False, sample_weight_eval_set=set_weights, **arguments)
    # Whoever listened does not belong to the model.
    estimator.set_params(callbacks=None)


def tell_kept_losses(estimator: BaseEstimator, progress: Progress) -> None:
    """Tell the curves that an estimator of scikit-learn kept of its fit, if it kept any."""
    name = type(estimator).__name__
    if name.startswith("HistGradientBoosting"):
        # By default its scores are losses with the sign turned; the first stands before the first iteration.
        is_loss = estimator.scoring == "loss"
        for which in _SETS:
            scores = [float(each) for each in getattr(estimator, f"{which}_score_", ())]
            values = [-each for each in scores] if is_loss else scores
            _tell(progress, f"{which}_{'loss' if is_loss else 'score'}", values)
    elif name.startswith("GradientBoosting"):
        _tell(progress, "train_loss", estimator.train_score_)
    elif name.startswith("MLP"):
        _tell(progress, "train_loss", getattr(estimator, "loss_curve_", ()))
        _tell(progress, "validation_score", getattr(estimator, "validation_scores_", None) or ())


def _tell(progress: Progress, series: str, values: Iterable[float]) -> None:
    for iteration, value in enumerate(values):
        progress(series, iteration, float(value))


def _is_lightgbm(estimator: BaseEstimator) -> bool:
    return type(estimator).__module__.startswith("lightgbm")


def _split(rows: tuple[Any, ...], *, seed: int, is_classifier: bool) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    from sklearn.model_selection import train_test_split

    present = [each for each in rows if each is not None]
    parts = train_test_split(
        *present,
        test_size=_VALIDATION_FRACTION,
        random_state=seed,
        stratify=rows[1] if is_classifier else None,
    )
    gap = [None] * (len(rows) - len(present))
    return (*parts[0::2], *gap), (*parts[1::2], *gap)


class _LightgbmListener:
    """Called by LightGBM after each iteration."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __call__(self, environment: Any) -> None:  # noqa: ANN401  (LightGBM's CallbackEnv)
        seen: set[str] = set()
        for dataset, _, value, is_score in environment.evaluation_result_list or ():
            which = _SETS[dataset != "training"]
            if which not in seen:
                seen.add(which)
                self._progress(f"{which}_{'score' if is_score else 'loss'}", environment.iteration, float(value))


def _xgboost_listener(progress: Progress) -> Any:  # noqa: ANN401  (XGBoost's TrainingCallback)
    from xgboost.callback import TrainingCallback

    class Listener(TrainingCallback):
        """Called by XGBoost after each iteration."""

        def after_iteration(
            self, model: object, epoch: int, evals_log: Mapping[str, Mapping[str, Sequence[Any]]]
        ) -> bool:
            """Tell the first metric of each data set, and go on."""
            del model
            for which, metrics in zip(_SETS, evals_log.values(), strict=False):
                metric, values = next(iter(metrics.items()))
                is_score = metric.startswith(("auc", "aucpr", "ndcg", "map", "pre"))
                progress(f"{which}_{'score' if is_score else 'loss'}", epoch, float(values[-1]))
            return False

    return Listener()
