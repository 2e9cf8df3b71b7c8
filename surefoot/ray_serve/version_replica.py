"""Serve one model version in a replica of Ray Serve: its digest is checked before it is loaded."""

import asyncio
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surefoot.adapters.mlflow.artifacts import ArtifactCache, load_model_directory
from surefoot.core.domain import Version
from surefoot.models.model_protocols import ColumnNames
from surefoot.models.rows.answer_checks import UnfitInput

_MAX_ERROR = 1000
"""Longest error that a caller is told [characters]."""


@dataclass(frozen=True, slots=True)
class RowAnswers:
    """What a version makes of the rows of one request.

    Attributes:
        predictions: One answer a row; None where it failed.
        error: How it failed; empty where it did not.
        unfit: Whether the rows are to blame, which no version could answer.
    """

    predictions: list[object] | None
    error: str = ""
    unfit: bool = False


class VersionReplica:
    """One version, loaded in this process and in no other version's."""

    def __init__(self, model: str, number: str, digest: str, mlflow: str, cache: str) -> None:
        """Load the version, from this node's cache or else from MLflow.

        Raises:
            SurefootError: Its files cannot be had, are not those of the digest, or are no model that can be loaded.
        """
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        warnings.simplefilter("ignore")  # MLflow's advice to the author of a model
        path = ArtifactCache(Path(cache).expanduser(), mlflow).verified(Version(number, digest), model)
        self._scorer = load_model_directory(path)
        self._scorer.warm()
        self._thread = ThreadPoolExecutor(1)

    async def answer(self, names: ColumnNames | None, values: list[Any], params: object, csv: bool) -> RowAnswers:
        """Answer the rows of one request; requests that come meanwhile wait.

        Args:
            names: Columns; None for rows that are bare arrays.
            values: One list of values a row.
            params: What the caller wants besides; None for nothing.
            csv: Whether the rows were CSV.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, names, values, params, csv)

    def _answer(self, names: ColumnNames | None, values: list[Any], params: object, csv: bool) -> RowAnswers:
        try:
            return RowAnswers(self._scorer.answer(names, values, params, csv=csv))
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            first = (str(error).splitlines() or [""])[0]
            return RowAnswers(None, f"{type(error).__name__}: {first}"[:_MAX_ERROR], isinstance(error, UnfitInput))
