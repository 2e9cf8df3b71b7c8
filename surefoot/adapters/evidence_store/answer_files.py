"""Store each version's answers by log-file group, so that it scores a request only once per environment."""

import hashlib
import math
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pyarrow as pa

from surefoot.adapters.evidence_store.table_files import write_table
from surefoot.core.domain import Version

ANSWER_COLUMNS = {"number": pa.float64(), "numbers": pa.list_(pa.float64()), "answer": pa.string()}
"""An answer is in the first of these that can hold it: a number, a list of numbers, any as JSON; else there is none."""
ANSWER_SCHEMA = pa.schema(
    [("request", pa.string()), ("row", pa.int32()), ("at", pa.float64()), *ANSWER_COLUMNS.items()]
)
"""Answers to some requests."""
_FORMAT = 2
"""Version of the form of the files; files of another form are not read."""
OPEN_GROUP_NAME = "tail"
"""Name of the file of requests that are in no closed part yet."""


@cache
def environment_digest() -> str:
    """Digest of the Python version and all installed packages, since other ones may change a model's answers."""
    found = {path.name for folder in sys.path for path in Path(folder or ".").glob("*.dist-info")}
    return hashlib.sha256("\n".join([sys.version, *sorted(found)]).encode()).hexdigest()


class AnswerFiles:
    """Stored answers of a model's versions, in files by the time of the requests."""

    def __init__(self, folder: Path) -> None:
        """Remember the folder; nothing is there before something is kept."""
        self._folder = folder

    def _of(self, version: Version) -> Path:
        digest = hashlib.sha256(
            f"{_FORMAT} {version.number} {version.digest} {environment_digest()}".encode()
        ).hexdigest()
        return self._folder / digest[:32]

    def files_overlapping(self, version: Version, first_at: float, last_at: float) -> list[Path]:
        """Files that may have answers to requests of a time [Unix seconds]."""
        return [path for path, first, last in _listed(self._of(version)) if first <= last_at and last >= first_at]

    def exists(self, version: Version, name: str) -> bool:
        """Whether there is a file of that name."""
        return any(path.name.startswith(f"{name}_") for path, *_ in _listed(self._of(version)))

    def write(self, version: Version, name: str, tables: Iterable[pa.Table], current: Iterable[str]) -> None:
        """Write the answers to the requests of some part, and remove the files that these replace.

        Args:
            version: Who has answered.
            name: Digest of the part, or OPEN_GROUP_NAME.
            tables: Answers in the form of ANSWER_SCHEMA.
            current: Names of all parts that are in the log now.

        Raises:
            EvidenceUnavailable: The disk is full, or refuses something else.
        """
        table = pa.concat_tables([ANSWER_SCHEMA.empty_table(), *tables])
        if not table.num_rows:
            return
        at = table.column("at").to_numpy()
        first, last = math.floor(at.min()), math.ceil(at.max())
        made = self._of(version) / f"{name}_{first}_{last}.parquet"
        write_table(made, table, {}, ["row", "answer"])
        known = {*current, name}
        for path, begin, end in _listed(made.parent):
            whose = path.name.split("_")[0]
            replaced = whose == name or (
                whose not in known and whose != OPEN_GROUP_NAME and first <= begin and end <= last
            )
            if path != made and replaced:
                path.unlink(missing_ok=True)

    def remove_before(self, at: float) -> int:
        """Remove the answers whose requests are all older [Unix seconds]; give the number of files."""
        old = [path for folder in self._folder.glob("*/") for path, _, last in _listed(folder) if last < at]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)


def _listed(folder: Path) -> list[tuple[Path, float, float]]:
    made = []
    for path in sorted(folder.glob("*.parquet")):
        name, first, last = path.stem.rsplit("_", 2)
        if name:
            made.append((path, float(first), float(last)))
    return made
