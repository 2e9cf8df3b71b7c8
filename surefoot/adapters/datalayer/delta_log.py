"""Read the versions, commits and active files in a Delta Lake transaction log."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from surefoot.core.errors import DataUnavailable, NotFound, Rejected

_COMMIT = re.compile(r"^([0-9]{20})\.json$")
_CHECKPOINT = re.compile(r"^([0-9]{20})\.checkpoint(?:\.([0-9]{10})\.([0-9]{10}))?\.parquet$")
_INTERVAL_UNITS_S = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "week": 604800.0}
_RETENTION_KEY = "delta.deletedFileRetentionDuration"
_DEFAULT_RETENTION_S = 7 * 86400.0
"""How long VACUUM keeps files by default [seconds]."""


@dataclass(frozen=True, slots=True)
class ActiveFile:
    """A data file of one version of a table.

    Attributes:
        path: Path below the table's folder.
        partition: Values of the partition columns, as the log has them.
        masked: Whether a deletion vector hides some of its rows.
    """

    path: str
    partition: tuple[tuple[str, str | None], ...]
    masked: bool


@dataclass(frozen=True, slots=True)
class LoggedVersion:
    """One version of a table, as its log tells.

    Attributes:
        number: The version.
        files: Its data files, by path.
        schema: The columns, as the log has them.
        configuration: Properties of the table.
        log: Names of the log's files that this was read from.
    """

    number: int
    files: tuple[ActiveFile, ...]
    schema: Mapping[str, Any]
    configuration: Mapping[str, str]
    log: tuple[str, ...]

    @property
    def retention(self) -> float:
        """How long VACUUM keeps files that are no longer active [seconds]."""
        return parse_retention_interval(self.configuration.get(_RETENTION_KEY))


@dataclass(frozen=True, slots=True)
class Commit:
    """One entry of the log.

    Attributes:
        version: Version that it made.
        operation: What it says it was, such as WRITE.
        info: Everything that it says of itself.
        changes_data: Whether it changed rows, columns or properties; OPTIMIZE and VACUUM do not.
    """

    version: int
    operation: str
    info: Mapping[str, Any]
    changes_data: bool


@dataclass(frozen=True, slots=True)
class DeltaLog:
    """The log of one table.

    Attributes:
        table: Folder of the table.
    """

    table: Path

    @property
    def folder(self) -> Path:
        """Folder of the log."""
        return self.table / "_delta_log"

    def head(self) -> int:
        """The newest version.

        Raises:
            NotFound: There is no Delta table.
        """
        commits = self._numbers()
        if not commits:
            raise NotFound(f"there is no Delta Lake table in {self.table}")
        return max(commits)

    def commits(self, after: int, upto: int) -> tuple[Commit, ...]:
        """The entries that made the versions after one, up to another.

        Raises:
            Rejected: One of them is not there any more.
        """
        return tuple(self._commit(number) for number in range(after + 1, upto + 1))

    def version(self, number: int) -> LoggedVersion:
        """What a version consists of.

        Raises:
            Rejected: The log does not reach back to it, or says something that is not understood here.
        """
        checkpoints = self._checkpoints(number)
        start, names = max(checkpoints.items(), default=(-1, []))
        actions = [action for name in names for action in self._read_checkpoint(name)]
        for one in range(start + 1, number + 1):
            names = [*names, f"{one:020}.json"]
            actions += self._actions(one)
        files: dict[tuple[str, str], ActiveFile] = {}
        meta: Mapping[str, Any] = {}
        for action in actions:
            if action.get("metaData"):
                meta = action["metaData"]
            if removed := action.get("remove"):
                files.pop(_identity(removed), None)
            if added := action.get("add"):
                partition = tuple(sorted(dict(added.get("partitionValues") or {}).items()))
                masked = bool(added.get("deletionVector"))
                files[_identity(added)] = ActiveFile(unquote(added["path"]), partition, masked)
        if not meta:
            raise Rejected(f"the log of {self.table} does not reach back to version {number}")
        configuration = dict(meta.get("configuration") or {})
        return LoggedVersion(
            number, tuple(files.values()), json.loads(meta["schemaString"]), configuration, tuple(names)
        )

    def _commit(self, number: int) -> Commit:
        actions = self._actions(number)
        info: dict[str, Any] = next((action["commitInfo"] for action in actions if action.get("commitInfo")), {})
        changes = any(
            "metaData" in action
            or "protocol" in action
            or any(action[kind].get("dataChange", True) for kind in ("add", "remove") if action.get(kind))
            for action in actions
        )
        return Commit(number, str(info.get("operation", "unknown")), info, changes)

    def _actions(self, number: int) -> list[dict[str, Any]]:
        path = self.folder / f"{number:020}.json"
        try:
            lines = path.read_text("utf-8").splitlines()
            return [json.loads(line) for line in lines if line.strip()]
        except FileNotFoundError as error:
            raise Rejected(
                f"the log of {self.table} does not hold version {number} any more: nothing says who wrote it"
            ) from error
        except (OSError, ValueError) as error:
            raise Rejected(f"{path} cannot be read: {error}") from error

    def _read_checkpoint(self, name: str) -> list[dict[str, Any]]:
        try:
            table = pq.read_table(self.folder / name)
        except (OSError, pa.ArrowException) as error:
            raise Rejected(f"{self.folder / name} cannot be read: {error}") from error
        columns = [name for name in ("metaData", "add") if name in table.column_names]
        return [_plain(row) for row in table.select(columns).to_pylist(maps_as_pydicts="lossy")]

    def _checkpoints(self, number: int) -> dict[int, list[str]]:
        """Names of the files of each whole checkpoint up to a version."""
        found: dict[int, list[str]] = {}
        parts: dict[int, int] = {}
        for name in self._names():
            if (match := _CHECKPOINT.match(name)) and int(match[1]) <= number:
                found.setdefault(int(match[1]), []).append(name)
                parts[int(match[1])] = int(match[3] or 1)
        return {version: sorted(names) for version, names in found.items() if len(names) == parts[version]}

    def _numbers(self) -> list[int]:
        return [int(match[1]) for name in self._names() if (match := _COMMIT.match(name))]

    def _names(self) -> list[str]:
        try:
            return [path.name for path in self.folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DataUnavailable(f"{self.folder} cannot be read: {error}") from error


def _identity(action: Mapping[str, Any]) -> tuple[str, str]:
    """What names a file in the log: its path, and the deletion vector that hides some of its rows."""
    vector = action.get("deletionVector") or {}
    return unquote(action["path"]), "".join(str(vector.get(key)) for key in ("storageType", "pathOrInlineDv", "offset"))


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """An action of a checkpoint without what is empty."""
    return cast("dict[str, Any]", {key: value for key, value in row.items() if value is not None})


def parse_retention_interval(text: str | None) -> float:
    """A property such as "interval 7 days" [seconds]; the default of VACUUM without one.

    Raises:
        Rejected: It is no interval.
    """
    if text is None:
        return _DEFAULT_RETENTION_S
    match = re.fullmatch(r"(?:interval\s+)?([0-9]+(?:\.[0-9]+)?)\s+([a-z]+?)s?", text.strip().lower())
    if not match or match[2] not in _INTERVAL_UNITS_S:
        raise Rejected(f"{_RETENTION_KEY} is '{text}', which is no interval such as 'interval 30 days'")
    return float(match[1]) * _INTERVAL_UNITS_S[match[2]]
