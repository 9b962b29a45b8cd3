"""Which seeds are fitted, in one go or look by look, and who says at each look whether more of them are needed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Protocol

from annotated_types import Interval

from hokusai.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hokusai.records import Arm, FittedModel

__all__ = ["InterimAnalysis", "InterimVerdict", "SeedPlan", "SequentialSettings", "seed_plan"]

_LOOKS = "training.sequential.looks"


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialSettings:
    """Settings under ``[training.sequential]``.

    Attributes:
        looks: Numbers of candidate fits at which it is looked whether more are needed, each more than the one before;
            empty to fit ``training.seeds`` of them. The last one is the most that are ever fitted.

    Raises:
        ConfigurationError: The numbers do not increase.
    """

    __pydantic_config__ = {"extra": "forbid", "strict": True}

    looks: tuple[Annotated[int, Interval(ge=3, le=20)], ...] = ()

    def __post_init__(self) -> None:
        """Refuse looks in another order."""
        if any(after <= before for before, after in pairwise(self.looks)):
            problem = f"got {list(self.looks)}, expected numbers of which each is greater than the one before."
            raise ConfigurationError(problem, key=_LOOKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class InterimVerdict:
    """What a look at the fits so far says.

    Attributes:
        stop: Whether no more fits are needed.
        reason: Why, or why not, in one sentence.
    """

    stop: bool
    reason: str


class InterimAnalysis(Protocol):
    """Looks at the fits of both arms while there may be more to come."""

    def look(self, controls: Sequence[FittedModel], candidates: Sequence[FittedModel]) -> InterimVerdict:
        """Say whether the fits so far are enough.

        Called at every look in turn, the last one included, where ``stop`` changes nothing, with all fits so far by
        seed; those of a seed that failed in one arm are left out of both. A look at which no seed is left is not
        taken.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedPlan:
    """The seeds of both arms, in the order in which they are fitted.

    Attributes:
        stages: By stage, the seeds that each arm has in it and not before.
        is_sequential: Whether each stage ends with a look at the fits so far.
        notes: What a reader of the scores should know, one sentence each.
    """

    stages: tuple[Mapping[Arm, range], ...]
    is_sequential: bool
    notes: tuple[str, ...] = ()

    def seeds(self, arm: Arm) -> tuple[int, ...]:
        """Return the seeds of an arm if every stage is gone through."""
        return tuple(seed for stage in self.stages for seed in stage[arm])

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds of either arm, in their order."""
        return tuple(sorted({*self.seeds("control"), *self.seeds("candidate")}))


def seed_plan(*, seeds: int, control_seeds: int, looks: tuple[int, ...], is_random: bool) -> SeedPlan:
    """Plan the seeds 0, 1, 2 … of both arms.

    Args:
        seeds: Fits of the candidate, unless there are looks.
        control_seeds: Fits of the control, all of them before the first look; 0 for as many as the candidate has.
        looks: Fits of the candidate at each look; empty for none.
        is_random: Whether fits depend on their seed; otherwise there is one in each arm.
    """
    ends, controls = looks or (seeds,), control_seeds
    if not is_random:
        ends, controls = (1,), 1
    stages: list[Mapping[Arm, range]] = []
    for start, end in pairwise((0, *ends)):
        candidate = range(start, end)
        control = candidate if not controls else range(0 if start else controls)
        stages.append({"control": control, "candidate": candidate})
    ignored = f"{_LOOKS} was set aside: a trainer without randomness is fitted once, and there is nothing to wait for."
    return SeedPlan(
        stages=tuple(stages),
        is_sequential=is_random and bool(looks),
        notes=(ignored,) if looks and not is_random else (),
    )
