"""Maintain the demo's output table of predictions, and make the project whose policy names the table."""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from surefoot.demo.demo_approval import add_approval_step

TABLE_URL_VARIABLE = "FLIGHTS_PREDICTIONS_URL"
"""Environment variable with the URL of the table's database, for the processes of the stack."""
_POLICY_SECTION = f"""
data_layer: # what the nightly job writes goes back with the version that answered
  - {{ name: predictions, kind: sql, url_variable: {TABLE_URL_VARIABLE}, table: predictions, valid_from: written_at,
      version_column: model_version, key: [request] }}
"""


class PredictionsTable:
    """A SQLite table of what the champion has answered; rows are added and never changed.

    Attributes:
        file: The database.
    """

    def __init__(self, file: Path) -> None:
        """Make the table."""
        self.file = file
        with self._connect() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS predictions (request TEXT PRIMARY KEY, model_version TEXT NOT NULL,"
                " probability REAL NOT NULL, written_at REAL NOT NULL)"
            )

    @property
    def url(self) -> str:
        """Where the table is, for SQLAlchemy."""
        return f"sqlite:///{self.file}"

    def write(self, answers: Iterable[tuple[str, str, bytes]], version: str, at: float) -> None:
        """Add what one version has answered.

        Args:
            answers: Id of the request, version and body of each answer.
            version: The version that counts; what others have answered is left out.
            at: When this is written [Unix seconds].
        """
        rows = [(name, version, _probability(body), at) for name, by, body in answers if by == version]
        with self._connect() as connection:
            connection.executemany("INSERT INTO predictions VALUES (?, ?, ?, ?)", rows)

    def rows_by_version(self) -> dict[str, int]:
        """Rows of each version [count]."""
        with self._connect() as connection:
            return dict(connection.execute("SELECT model_version, count(*) FROM predictions GROUP BY 1"))

    @contextlib.contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.file, timeout=30.0)) as connection, connection:
            yield connection


def _probability(body: bytes) -> float:
    """The probability of a late arrival in an answer of the gateway."""
    (answer,) = orjson.loads(body)["predictions"]
    return float(answer[-1] if isinstance(answer, list) else answer)


def make_demo_project(source: Path, folder: Path, model: str) -> Path:
    """Copy a project's policies, let that of a model name the table and ask for an approval, and link the rest.

    Args:
        source: Folder with prefect.yaml, flows/, tasks/, configs/ and expectations/.
        folder: The demo's own project.
        model: Registered model.

    Returns:
        The demo's own project, or the source when it is none.
    """
    policy = source / "configs" / f"{model}.yaml"
    if not (source / "prefect.yaml").is_file() or not policy.is_file():
        return source  # `up` says what is missing
    (folder / "configs").mkdir(parents=True)
    for path in source.iterdir():
        if path.name in {"prefect.yaml", "flows", "tasks", "expectations"}:
            (folder / path.name).symlink_to(path)
    text = add_approval_step(policy.read_text(encoding="utf-8"), folder)
    section = "" if "\ndata_layer:" in text else _POLICY_SECTION
    (folder / "configs" / policy.name).write_text(text + section, encoding="utf-8")
    return folder
