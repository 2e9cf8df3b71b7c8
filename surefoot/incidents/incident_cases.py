"""Back-test whether a policy stops the bad versions of recorded incidents in time."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import duckdb

from surefoot.adapters.config.incident_cases import StoredCase, list_case_folders, read_case
from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.predictions.log_files import quote_sql_string
from surefoot.backtest.case_backtest import CaseRecords, CaseResult, backtest_case
from surefoot.core.errors import Rejected
from surefoot.core.incidents.review.incident_case import CaseKind, IncidentCase
from surefoot.core.incidents.review.policy_change import PolicyChange
from surefoot.core.incidents.review.policy_change_ranking import (
    BacktestedPolicy,
    describe_backtest_outcome,
    find_case_problem,
)

_YEAR_S = 365.25 * 86400.0


class CaseBacktester:
    """Back-tests policies on one incident case, whose records are read once; a context manager that closes them.

    Attributes:
        stored: The case.
    """

    def __init__(self, stored: StoredCase) -> None:
        """Read the records.

        Raises:
            Rejected: They cannot be read, or break the schema.
        """
        self.stored = stored
        self._records = CaseRecords(stored.records, stored.labels)

    def __enter__(self) -> Self:
        """The player."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the records."""
        self._records.close()

    def play(self, policy: Path) -> CaseResult:
        """What a policy file makes of the case.

        Raises:
            Rejected: The policy cannot be read, or is of another model.
        """
        return backtest_case(self.stored.case, self._records, self._mapping(policy))

    def backtest_against_itself(self, policy: Path, draws: int) -> int:
        """How many of so many rollouts of the good version against itself a policy stops, over the same requests.

        Each draw assigns the units anew. Of a watch it is 0: two equal versions never differ on one request.

        Args:
            policy: The policy file.
            draws: Rollouts [count].
        """
        mapping = self._mapping(policy)
        if self.stored.case.kind is CaseKind.WATCH:
            return 0
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "itself.parquet"
            _write_against_itself(self.stored, file)
            records = CaseRecords(file, self.stored.labels)
            try:
                played = (
                    backtest_case(self.stored.case, records, mapping, secret=f"draw {draw}")
                    for draw in range(1, draws + 1)
                )
                return sum(one.stopped_at is not None for one in played)
            finally:
                records.close()

    def _mapping(self, policy: Path) -> Mapping[str, object]:
        mapping, read = read_policy(policy)
        if read.model != self.stored.case.model:
            raise Rejected(f"{policy} is the policy of {read.model}, the case is of {self.stored.case.model}")
        return mapping


def _write_against_itself(stored: StoredCase, file: Path) -> None:
    """Write the records of the good version twice, once as the champion and once as the candidate."""
    source = f"read_parquet({quote_sql_string(str(stored.records))})"
    good = quote_sql_string(stored.case.good)
    again = quote_sql_string(f"{stored.case.good} again")
    sql = f"""SELECT * FROM {source} WHERE version = {good} UNION ALL
        SELECT * REPLACE ('candidate' AS arm, {again} AS version) FROM {source} WHERE version = {good}"""  # noqa: S608 - quoted
    try:
        with duckdb.connect() as db:
            db.execute(f"COPY ({sql}) TO {quote_sql_string(str(file))} (FORMAT parquet)")
    except duckdb.Error as error:
        raise Rejected(f"{stored.records} cannot be read: {str(error).splitlines()[0]}") from error


def summarise_backtest(change: PolicyChange | None, case: IncidentCase, found: CaseResult) -> BacktestedPolicy:
    """The result of a back-test, in the form that reviews compare and describe."""
    years = max(case.onset - case.opened, 0.0) / _YEAR_S if case.kind is CaseKind.WATCH else 0.0
    return BacktestedPolicy(
        change, found.stopped_at, found.gate, found.where, found.requests, found.reason, found.false_alarms, years
    )


@dataclass(frozen=True, slots=True)
class CaseCheckResult:
    """The result of a back-test of a policy on one incident case.

    Attributes:
        folder: Folder of the case.
        played: What the policy makes of it.
        sentence: The same in words.
        problem: Why that is not enough; empty where it is.
    """

    folder: Path
    played: BacktestedPolicy
    sentence: str
    problem: str


def check_policy_on_cases(project: Path, policy: Path) -> list[CaseCheckResult]:
    """Back-test a policy file on every case of its model.

    Raises:
        Rejected: A case or its records cannot be read.
    """
    _, read = read_policy(policy)
    made = []
    for folder in list_case_folders(project, read.model):
        stored = read_case(folder)
        with CaseBacktester(stored) as player:
            played = summarise_backtest(None, stored.case, player.play(policy))
        said, problem = describe_backtest_outcome(stored.case, played), find_case_problem(stored.case, played)
        made.append(CaseCheckResult(folder, played, said, problem))
    return made
