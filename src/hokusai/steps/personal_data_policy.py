"""What the settings say about personal data, applied to every table of an evaluation alike."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hokusai.datasets.personal_data import (
    KINDS,
    PersonalDataScanner,
    columns_to_drop,
    require_no_personal_data,
)
from hokusai.datasets.personal_data_treatment import require_key, treat_batch
from hokusai.errors import ConfigurationError, PersonalDataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from hokusai.datasets.integration import Columns
    from hokusai.datasets.personal_data import PersonalDataCount
    from hokusai.steps.data_settings import DataSettings

__all__ = ["PersonalDataPolicy"]


class PersonalDataPolicy:
    """Finds personal data in tables, refuses them, or takes them out of all tables in the same way.

    Attributes:
        searches: Whether tables are searched at all; not when everything that is found would be kept.
        treats: Whether what is found may have to be taken out, so that a table must be searched before it is used.
    """

    def __init__(self, settings: DataSettings) -> None:
        """Read the key, if there is one.

        Raises:
            ConfigurationError: A kind is to be hashed and there is no key, or a short one.
        """
        self._treatments = dict(settings.personal_data)
        self._key = _hash_key(settings)
        require_key(self._treatments, self._key)
        self.searches = any(self._treatments.get(kind) != "keep" for kind in KINDS)
        self.treats = bool({"drop", "mask", "hash"} & set(self._treatments.values()))

    def find(self, batches: Iterable[pa.RecordBatch], *, source: str) -> list[PersonalDataCount]:
        """Search a table.

        Raises:
            PersonalDataError: It holds what is to be refused.
        """
        scanner = PersonalDataScanner()
        for batch in batches if self.searches else ():
            scanner.update(batch)
        counts = list(scanner.counts())
        self.require(counts, source=source)
        return counts

    def require(self, counts: Iterable[PersonalDataCount], *, source: str) -> None:
        """Refuse a table that holds what is to be refused.

        Raises:
            PersonalDataError: It does.
        """
        require_no_personal_data(counts, policy=self._treatments, source=source)

    def columns_left(self, columns: Columns, found: Sequence[PersonalDataCount], *, source: str) -> Columns:
        """The columns that are left when those with personal data to drop are dropped.

        Raises:
            PersonalDataError: The label, the key or the weight would go, or every feature.
        """
        dropped = columns_to_drop(found, self._treatments)
        features = tuple(name for name in columns.features if name not in dropped)
        lost = [name for name in (columns.label, *columns.key, columns.sample_weight) if name in dropped]
        if lost or not features:
            raise PersonalDataError(source, found=[(name, "what is to be dropped") for name in lost or dropped])
        return replace(columns, features=features)

    def treated(
        self, batches: Iterable[pa.RecordBatch], *, found: Sequence[PersonalDataCount]
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a table without what was found in any of the tables: a hash here must be a hash there."""
        dropped = columns_to_drop(found, self._treatments)
        for batch in batches:
            yield treat_batch(batch, policy=self._treatments, counts=found, key=self._key, dropped=dropped)[0]


def _hash_key(settings: DataSettings) -> bytes | None:
    if settings.hash_key_file is None:
        return None
    try:
        return settings.hash_key_file.read_bytes().strip()
    except OSError as error:
        problem = f"{settings.hash_key_file} cannot be read ({error.strerror}). Check the path and its permissions."
        raise ConfigurationError(problem, key="data.hash_key_file") from error
