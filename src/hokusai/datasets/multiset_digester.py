"""The digest of a table's content in any order of its rows, from batches; the format is TABHASH v1's multiset."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from hokusai.datasets.content_digest import digest_header
from hokusai.datasets.logical_types import encoded_schema, fields_of
from hokusai.datasets.row_digests import row_digests
from hokusai.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MultisetDigester"]


class MultisetDigester:
    """Digests a table that arrives in batches, whatever the order of its rows and columns; 32 bytes a row are kept.

    The digest is that of :func:`~hokusai.datasets.row_digests.multiset_digest` over all batches as one table.
    """

    def __init__(self, schema: pa.Schema, *, source: str = "table") -> None:
        """Start with no rows.

        Args:
            schema: The columns; every batch must be the same to the digest.
            source: What error messages call the table.

        Raises:
            DataError: Two columns share a name, or a column's type has no content digest.
        """
        self._schema = encoded_schema(fields_of(schema, column_order="name", source=source))
        self._source = source
        self._digests: list[np.ndarray[tuple[int], np.dtype[np.void]]] = []

    def update(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Add the rows of a batch.

        Raises:
            DataError: The batch has other columns, or a value has no content digest.
        """
        import pyarrow as pa

        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        if encoded_schema(fields_of(table.schema, column_order="name", source=self._source)) != self._schema:
            raise DataError(self._source, "a batch has other columns than the table. Cast it first.")
        self._digests.append(row_digests(table, source=self._source))

    def hexdigest(self) -> str:
        """The digest of the rows so far, 64 hexadecimal digits; more rows may follow."""
        rows = sum(map(len, self._digests))
        digests = np.concatenate(self._digests) if rows else np.zeros(0, dtype="V32")
        words = np.ascontiguousarray(digests).view(">u8").reshape(-1, 4).astype(np.uint64)
        order = np.lexsort(words.T[::-1])
        content = hashlib.sha256(digests[order].tobytes()).digest()
        header = digest_header(b"TABHASHM", flags=0, chunk_log2=0, rows=rows, schema=self._schema)
        return hashlib.sha256(header + content).hexdigest()
