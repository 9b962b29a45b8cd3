"""Which of LightGBM's many parameters may be set: those that say how it learns.

LightGBM takes every name, under many aliases. Others would read or write files, choose another device, other threads
or another objective than the class, or set the seed from which the seeds of the fits are told apart.
"""

from __future__ import annotations

__all__ = ["LEARNING_PARAMETERS"]

LEARNING_PARAMETERS = frozenset(
    {
        "alpha",
        "bagging_fraction",
        "bagging_freq",
        "bin_construct_sample_cnt",
        "boost_from_average",
        "cat_l2",
        "cat_smooth",
        "cegb_penalty_split",
        "cegb_tradeoff",
        "data_sample_strategy",
        "drop_rate",
        "early_stopping_min_delta",
        "early_stopping_round",
        "early_stopping_rounds",
        "enable_bundle",
        "extra_trees",
        "fair_c",
        "feature_fraction",
        "feature_fraction_bynode",
        "first_metric_only",
        "force_col_wise",
        "force_row_wise",
        "interaction_constraints",
        "is_unbalance",
        "lambda_l1",
        "lambda_l2",
        "linear_lambda",
        "linear_tree",
        "max_bin",
        "max_cat_threshold",
        "max_cat_to_onehot",
        "max_delta_step",
        "max_drop",
        "metric",
        "min_data_in_bin",
        "min_data_in_leaf",
        "min_data_per_group",
        "min_gain_to_split",
        "min_sum_hessian_in_leaf",
        "monotone_constraints",
        "monotone_constraints_method",
        "monotone_penalty",
        "neg_bagging_fraction",
        "other_rate",
        "path_smooth",
        "poisson_max_delta_step",
        "pos_bagging_fraction",
        "reg_sqrt",
        "scale_pos_weight",
        "sigmoid",
        "skip_drop",
        "top_rate",
        "tweedie_variance_power",
        "uniform_drop",
        "use_missing",
        "zero_as_missing",
    }
)
"""LightGBM's own names, beside the arguments of its scikit-learn classes."""
