"""A drill asks the version that is the fallback logged rows: what it fails, how long it takes, and when it stops."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surefoot.adapters.predictions.prediction_log import LoggedRequest
from surefoot.adapters.served_answers import fallback_checks
from surefoot.adapters.served_answers.fallback_checks import FallbackCheckSources
from surefoot.core.answers.fallback_check import check_fallback_version_answers
from surefoot.core.domain import Version
from surefoot.core.errors import RegistryUnavailable, Rejected
from surefoot.core.fallback import FallbackReference
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.core.planning.policy_notes import list_policy_notes
from surefoot.core.policy.parse import parse_policy
from surefoot.models.model_process import ProcessDied, RemoteModelError
from tests.fakes import POLICY

SOURCE, VERSION = FallbackReference("base", "7"), Version("7", f"sha256:{7:064}")


class Scorer:
    """A version whose answers a test decides on; each call takes a time of a clock that the test owns."""

    def __init__(
        self, answer: Callable[[dict[str, Any]], object], *, batchable: bool = True, row_s: float = 0.0
    ) -> None:
        self.answer, self.independent, self.row_s = answer, batchable, row_s
        self.now, self.closed = 0.0, False
        self.calls: list[tuple[int, object]] = []

    @property
    def batchable(self) -> bool:
        """Whether rows may be asked together."""
        return self.independent

    def predict(self, rows: list[Any], params: object = None) -> list[object]:
        """Answer, or raise."""
        self.calls.append((len(rows), params))
        self.now += self.row_s * len(rows)
        return [self.answer(row) for row in rows]

    def close(self) -> None:
        """End."""
        self.closed = True


def requests(count: int, params: object = None) -> list[LoggedRequest]:
    """Rows with x = 0, 1, ... that version 1 has answered with a number."""
    return [
        LoggedRequest((f"r{number}", 0), float(number), "1", "champion", 0.5, {"x": number}, (), params)
        for number in range(count)
    ]


def drilled(monkeypatch: pytest.MonkeyPatch, scorer: Scorer, rows: list[LoggedRequest]) -> FallbackDrilled:
    """What a drill finds."""
    monkeypatch.setattr(fallback_checks, "_recent", lambda *_: rows)
    sources = FallbackCheckSources(Path(), Path(), lambda *_: VERSION, lambda *_: scorer, lambda: scorer.now)
    found = fallback_checks._try_version(sources, "m", "1", 0.0, SOURCE)
    assert scorer.closed
    return found


def fails_at(*xs: int) -> Callable[[dict[str, Any]], object]:
    """Raise for some x."""

    def answer(row: dict[str, Any]) -> object:
        if row["x"] in xs:
            raise RemoteModelError(f"KeyError: {row['x']}")
        return 0.25

    return answer


@pytest.mark.parametrize("batchable", [True, False])
def test_each_row_that_fails_is_counted(monkeypatch: pytest.MonkeyPatch, batchable: bool) -> None:
    """A row that fails does not fail those that were asked with it; params go with the rows that had them."""
    scorer = Scorer(fails_at(3, 5), batchable=batchable)
    found = drilled(monkeypatch, scorer, [*requests(6), *requests(3, {"k": 1})])
    assert (found.rows, found.problem) == (9, "it fails 2 of them: KeyError: 3")
    assert (3 if batchable else 1, {"k": 1}) in scorer.calls


def test_a_version_that_ends_its_process_is_asked_no_further_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them could cost another start of its process."""

    def quits(row: dict[str, Any]) -> object:
        raise ProcessDied("it has ended")

    scorer = Scorer(quits, batchable=False)
    found = drilled(monkeypatch, scorer, requests(500))
    assert (found.problem, len(scorer.calls)) == ("it fails 1 of them: it has ended", 1)


def test_a_version_that_is_too_slow_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers would be refused before it answers; it is not asked for longer than two minutes."""
    scorer = Scorer(fails_at(), batchable=False, row_s=4.0)
    found = drilled(monkeypatch, scorer, requests(500))
    assert found.problem == "it takes 4.0 s for a row, and callers are not kept longer than 1 s"
    assert found.rows == len(scorer.calls) == 31
    assert drilled(monkeypatch, Scorer(fails_at(), row_s=0.5), requests(500)).problem == ""
    assert (
        check_fallback_version_answers(SOURCE, VERSION, [], [], [], seconds=9.0).problem == ""
    )  # nothing was logged to ask it


def test_what_cannot_be_loaded_is_unusable_and_an_outage_is_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version without its files is told in one line; a registry that is down says nothing of the version."""

    def broken(error: Exception) -> FallbackCheckSources:
        def raises(*_: object) -> Any:
            raise error

        return FallbackCheckSources(Path(), Path(), raises, raises)

    found = fallback_checks._try_version(broken(Rejected("it has\nno files")), "m", "1", 0.0, SOURCE)
    assert found.is_unusable
    assert found.problem == "models:/base/7 cannot be loaded: it has no files"
    with pytest.raises(RegistryUnavailable):
        fallback_checks._try_version(broken(RegistryUnavailable("down")), "m", "1", 0.0, SOURCE)


def test_lint_says_what_a_version_as_fallback_costs() -> None:
    """It names the version; a policy without one has no such note."""
    (note,) = set(list_policy_notes(parse_policy({**POLICY, "fallback": {"pyfunc": 3}}))) - set(
        list_policy_notes(parse_policy(POLICY))
    )
    assert "models:/m/3" in note
