"""Query some files of the prediction log as if they were the whole log."""

from collections.abc import Sequence
from pathlib import Path

from surefoot.adapters.predictions.log_files import LABEL_FILES, PREDICTION_FILES, SHADOW_FILES, FileKind
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.errors import EvidenceUnavailable


class LogFilesReplacedError(EvidenceUnavailable):
    """Raised when a compaction has replaced listed files by others; list them again."""


class FileGroupLog(PredictionLog):
    """A prediction log that consists of one file group and the labels that may belong to its requests."""

    def __init__(
        self, root: Path, requests: tuple[Sequence[Path], Sequence[Path]], labels: tuple[Sequence[Path], Sequence[Path]]
    ) -> None:
        """Remember the files.

        Args:
            root: Folder of the logs.
            requests: Segments and tables of requests.
            labels: Segments and tables of labels.
        """
        super().__init__(root)
        self._files = {PREDICTION_FILES.name: requests, LABEL_FILES.name: labels, SHADOW_FILES.name: ((), ())}

    @property
    def single_table(self) -> Path:
        """The first of its tables of requests."""
        return self._files[PREDICTION_FILES.name][1][0]

    def current_files(self, model: str, kind: FileKind) -> tuple[list[Path], list[Path]]:
        """The files of one kind.

        Raises:
            LogFilesReplacedError: One of them is gone.
        """
        segments, tables = self._files[kind.name]
        if gone := [path.name for path in (*segments, *tables) if not path.exists()]:
            raise LogFilesReplacedError(f"{gone[0]} of the log of {model} is in another file by now")
        return list(segments), list(tables)
