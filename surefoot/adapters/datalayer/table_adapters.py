"""Dispatch calls for an output table to its Delta, Parquet or SQL adapter."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from surefoot.adapters.datalayer.checkpoint_files import CheckpointFiles
from surefoot.core.errors import TableNotReachable
from surefoot.core.naming.model_names import model_file_name
from surefoot.core.policy.recovery.data_layer import DataSource, DeltaSource, SqlSource
from surefoot.core.tables.table_checkpoint import RestoreResult, TableCheckpoint, TableDigest


class _Table(Protocol):
    """A table of any kind."""

    def digest(self) -> TableDigest: ...

    def checkpoint(self) -> TableCheckpoint: ...

    def verify_restorable(self, checkpoint: TableCheckpoint) -> None: ...

    def restore(self, checkpoint: TableCheckpoint, versions: tuple[str, ...], intent: str) -> RestoreResult: ...


@dataclass(frozen=True, slots=True)
class TableAdapters:
    """Digest, checkpoint and restore of any table that a policy names.

    Attributes:
        project: Folder in which relative paths begin.
        home: Folder of what is kept.
        environment: Where the URLs of databases are.
    """

    project: Path
    home: Path
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def digest(self, model: str, source: DataSource) -> TableDigest:
        """What a table holds now."""
        with self._table(model, source) as table:
            return table.digest()

    def checkpoint(self, model: str, source: DataSource) -> TableCheckpoint:
        """Keep what a table holds now."""
        with self._table(model, source) as table:
            return table.checkpoint()

    def verify_restorable(self, model: str, source: DataSource, checkpoint: TableCheckpoint) -> None:
        """Restore a checkpoint into a scratch copy; two readers compare it with the checkpoint."""
        with self._table(model, source) as table:
            table.verify_restorable(checkpoint)

    def restore(
        self, model: str, source: DataSource, checkpoint: TableCheckpoint, versions: tuple[str, ...], intent: str
    ) -> RestoreResult:
        """Undo the writes of some versions since a checkpoint."""
        with self._table(model, source) as table:
            return table.restore(checkpoint, versions, intent)

    @contextmanager
    def _table(self, model: str, source: DataSource) -> Iterator[_Table]:
        """The table, closed at the end."""
        if isinstance(source, SqlSource):
            from surefoot.adapters.datalayer.sql_table import SqlTable, build_table_engine  # noqa: PLC0415 - most commands touch no table

            url = self.environment.get(source.url_variable, "")
            if not url:
                raise TableNotReachable(
                    f"table {source.name}: environment variable {source.url_variable}, which holds the URL of its"
                    " database, is not set here"
                )
            engine = build_table_engine(url, source.name)
            try:
                yield SqlTable(engine, source)
            finally:
                engine.dispose()
            return
        folder, kept = self.project / source.path, CheckpointFiles(self.home / model_file_name(model) / source.name)
        if isinstance(source, DeltaSource):
            from surefoot.adapters.datalayer.delta_table import DeltaLakeTable  # noqa: PLC0415 - same

            yield DeltaLakeTable(folder, kept)
            return
        from surefoot.adapters.datalayer.parquet_table import ParquetTable  # noqa: PLC0415 - same

        yield ParquetTable(folder, kept)
