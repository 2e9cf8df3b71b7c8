"""Store evidence counts as files, for later evaluations and for `verify`."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from surefoot.adapters.evidence_store.answer_files import AnswerFiles
from surefoot.adapters.evidence_store.table_files import file_digest, read_table, write_table
from surefoot.core.erasure.erasure_events import find_current_file_name
from surefoot.core.errors import EvidenceUnavailable, NotFound
from surefoot.core.journal.chain import canonical_digest
from surefoot.core.naming.model_names import model_file_name


@dataclass(frozen=True, slots=True)
class StoredCounts:
    """Stored counts of one prediction-log file group for one gate.

    Attributes:
        name: Name of its file, which ends with the digest of its bytes.
        table: Rows.
        facts: All else.
    """

    name: str
    table: pa.Table
    facts: Mapping[str, object]


class EvidenceStore:
    """Stored evidence counts of one model's prediction log, and the sources of each verdict."""

    def __init__(self, root: Path, model: str, replaced: Mapping[str, str] | None = None) -> None:
        """Remember the folder; nothing is there before something is kept.

        Args:
            root: Folder of the evidence of all models.
            model: Registered model.
            replaced: New name of each file that an erasure has written again, by old name, as the journal says.
        """
        self._folder, self._replaced = root / model_file_name(model), replaced or {}
        self.indexes = self._folder / "index"
        self.answers = AnswerFiles(self._folder / "answers")

    @property
    def folder(self) -> Path:
        """Where the evidence of the model is."""
        return self._folder

    def load_counts(self, key: Mapping[str, object]) -> StoredCounts | None:
        """Load the counts that were stored under a key; None where there are none.

        Raises:
            EvidenceUnavailable: It is not as it was written.
        """
        for path in (self._folder / "sums").glob(f"{stored_counts_file_prefix(key)}-*.parquet"):
            return self.load_counts_by_name(path.name)
        return None

    def list_stored_names(self) -> frozenset[str]:
        """Names of the keys of stored counts, as `stored_counts_file_prefix` gives them; no file is read."""
        return frozenset(path.name.split("-")[0] for path in (self._folder / "sums").glob("*-*.parquet"))

    def load_counts_by_name(self, name: str) -> StoredCounts:
        """Load stored counts by their file name.

        Raises:
            NotFound: It is gone.
            EvidenceUnavailable: It is not as it was written.
        """
        name = find_current_file_name(self._replaced, name)
        path = self._folder / "sums" / name
        _check(path, path.stem.split("-")[1])
        return StoredCounts(name, *read_table(path))

    def save_counts(self, key: Mapping[str, object], table: pa.Table, facts: Mapping[str, object]) -> StoredCounts:
        """Store counts under a key.

        Raises:
            EvidenceUnavailable: The disk is full, or refuses something else.
        """
        name = self._keep("sums", f"{stored_counts_file_prefix(key)}-", table, {**facts, "key": key})
        return StoredCounts(name, table, facts)

    def save_verdict_sources(self, table: pa.Table, facts: Mapping[str, object]) -> str:
        """Store which stored counts one verdict's evidence was made of; returns the digest of that record.

        Raises:
            EvidenceUnavailable: The disk is full, or refuses something else.
        """
        return self._keep("looks", "", table, facts).removesuffix(".parquet")

    def load_verdict_sources(self, digest: str) -> tuple[pa.Table, dict[str, object]]:
        """Load which stored counts one verdict's evidence was made of.

        Raises:
            NotFound: It is gone.
            EvidenceUnavailable: It is not as it was written.
        """
        name = find_current_file_name(self._replaced, f"{digest}.parquet")
        path, digest = self._folder / "looks" / name, name.removesuffix(".parquet")
        _check(path, digest)
        return read_table(path)

    def _keep(self, place: str, prefix: str, table: pa.Table, facts: Mapping[str, object]) -> str:
        folder = self._folder / place
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".", dir=folder) as scratch:
                made = Path(scratch) / "made"
                name = f"{prefix}{write_table(made, table, facts)}.parquet"
                made.replace(folder / name)
        except OSError as error:
            raise EvidenceUnavailable(f"evidence cannot be kept in {folder}: {error}") from error
        return name


def stored_counts_file_prefix(key: Mapping[str, object]) -> str:
    """Prefix of the file names of the counts that are stored under a key."""
    return canonical_digest(key).removeprefix("sha256:")[:32]


def _check(path: Path, digest: str) -> None:
    try:
        found = file_digest(path)
    except FileNotFoundError as error:
        raise NotFound(f"kept evidence {path.name} is gone") from error
    except OSError as error:
        raise EvidenceUnavailable(f"kept evidence {path.name} cannot be read: {error}") from error
    if found != digest:
        raise EvidenceUnavailable(f"kept evidence {path.name} has been altered: its bytes are not those of its name")
