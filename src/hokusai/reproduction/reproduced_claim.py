"""The hardest check of a statement: the evaluation is done again, and what follows from it is claimed once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hokusai.errors import ReproductionError
from hokusai.reproduction.again import reproduce
from hokusai.verification.checks import failed, ok

if TYPE_CHECKING:
    from hokusai.reproduction.document import Reproduction
    from hokusai.tracking.mlflow_config import TrackingSettings
    from hokusai.verification.checks import StatementCheck, Verification

__all__ = ["check_by_reproduction"]


def check_by_reproduction(verification: Verification, *, settings: TrackingSettings) -> StatementCheck:
    """Return whether the evaluation of a statement, done again from its record alone, makes the same claim.

    The claim is compared as a whole, by the digest that identifies it: data, model, row scores, every number. Where the
    numbers are the same within the tolerance and the model's file is not, what was recorded has to be what is claimed,
    which the other checks say.

    Args:
        verification: What else was found of the statement.
        settings: The store that holds the record.

    Raises:
        RunNotFoundError: The store does not know the evaluation.
        HokusaiError: It was begun, and did not come to its end.
    """
    try:
        result = reproduce(verification.evaluation, settings=settings)
    except ReproductionError as error:
        problem = f"{error.problem} `hokusai reproduce {verification.evaluation}` takes what is missing."
        return failed("reproduction", "cannot be done again", problem)
    return _compared(result, verification.claim_sha256)


def _compared(result: Reproduction, claimed: str) -> StatementCheck:
    again = f"done again as evaluation {result.evaluation}"
    if result.claim_sha256 == claimed:
        return ok("reproduction", f"{again}: the same claim.")
    if result.verdict == "equal within the tolerance":
        return ok("reproduction", f"{again}: equal within the tolerance {result.tolerance:g} of what was recorded.")
    first = result.first_difference
    if first is None or result.verdict == "identical":
        problem = f"{again}: it comes out as recorded, and that is another claim: {result.claim_sha256}."
        return failed("reproduction", "another claim", problem)
    found = f"{first.stage}: {first.subject}: recorded {first.recorded}, found {first.found}"
    if not result.evaluation:
        return failed("reproduction", "different", f"the record was changed, and nothing was run. {found}.")
    return failed("reproduction", "different", f"{again}: it is different. {found}.")
