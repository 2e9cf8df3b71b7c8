"""What a version's decisions cost, in the report of its incident, held against sums by hand."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from surefoot import exposure, wiring
from surefoot.core.domain import Outcome
from surefoot.incidents import incident_reports
from tests.integration.log_writing import label, record, write
from tests.integration.served_stack import HOUR, Clock, Stack
from tests.integration.test_incidents import judged

PRICES = {"tp": 1.0, "fp": 5.0, "fn": 20.0, "tn": 0.0}
COST_GATE = {
    "metric": "cost_per_request",
    "costs": PRICES,
    "threshold": 0.5,
    "margin": 0.5,
    "block": "1d",
    "labels": {"maturity": "1h"},
}
REQUESTS = range(1, 400)
BAD = [number for number in REQUESTS if number % 5 == 0]
LABELLED = [number for number in REQUESTS if number % 4]


def came_true(number: int) -> int:
    """The label of a request."""
    return int(number % 3 == 0)


def good_answer(number: int) -> float:
    """What the good version would have said."""
    return 0.9 if came_true(number) else 0.1


def price(answer: float, came: int) -> float:
    """What one decision costs."""
    return PRICES[("tp" if came else "fp") if answer >= 0.5 else ("fn" if came else "tn")]


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack whose policy has prices, with a version that was rolled back and what came true of its answers."""
    priced: dict[str, Any] = {
        "gates": {"errors": {"metric": "error_rate", "margin": "1pp"}, "cost": COST_GATE},
        "steps": [
            {"shadow": {"window": "7d", "gates": ["cost"]}},
            {"weight": 20, "hold": {"for": "10m", "gates": ["errors"]}},
        ],
    }
    made = Stack(tmp_path / "home", **priced)
    made.history(judged("too many", Outcome.FAIL, 1))
    at = {number: 10 * HOUR + number * 10.0 for number in REQUESTS}
    write(
        made.config.log,
        [record(n, at[n], answered_by="2" if n in BAD else "1", error=None, unit=f"u{n}") for n in REQUESTS],
    )
    write(made.config.log, [label(n, at[n] + 60.0, came_true(n)) for n in LABELLED], "labels")
    monkeypatch.setattr(wiring.adapters, "build_clock", lambda _kind: Clock())
    return made


def settle_with_good_answers(stack: Stack) -> Path:
    """List the answers as `reconcile` does, with what the good version would have said; the file of the report."""
    exposure.write_due_exposure(stack.config, stack.ports, "m")
    (listed,) = (stack.config.home / "exposure" / "m").glob("*.parquet")
    rows = pq.read_table(listed)
    answers = [str(good_answer(int(str(request)[1:]))) for request in rows.column("request").to_pylist()]
    place = rows.schema.get_field_index("good_answer")
    pq.write_table(rows.set_column(place, "good_answer", pa.array(answers, pa.string())), listed)
    incident_reports.update_incident_reports(stack.config, stack.ports, "m")
    (incident,) = stack.ports.ledger("m").incidents.known
    return incident_reports.report_files(stack.config, "m", incident)[0]


def test_the_cost_of_decisions_is_what_prices_and_labels_say(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    """Version and good version are priced on the same labelled answers, as JSON, in the terminal and in the report."""
    page = settle_with_good_answers(stack)
    compared = [number for number in BAD if number in LABELLED]
    own = sum(price(number % 10 / 10.0, came_true(number)) for number in compared)
    good = sum(price(good_answer(number), came_true(number)) for number in compared)
    assert own > good > 0
    capfd.readouterr()
    assert stack.command("incident", "show", "--json") == 0
    costs = json.loads(capfd.readouterr().out)["impact"]["costs"]
    assert (costs["compared"], costs["version"], costs["good"]) == (len(compared), own, good)
    assert stack.command("incident", "show") == 0
    told = " ".join(capfd.readouterr().out.split())
    assert f"its decisions cost {own:,.2f} by the prices in the policy, {own - good:+,.2f} beside" in told
    for text in (page.read_text(), page.with_suffix(".md").read_text()):
        assert f"{own:,.2f}" in text
        assert f"{own - good:,.2f}" in text


def test_without_prices_or_labels_no_cost_is_stated(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    """No figure is made up where no answer has both a label and an answer of the good version."""
    exposure.write_due_exposure(stack.config, stack.ports, "m")
    incident_reports.update_incident_reports(stack.config, stack.ports, "m")
    capfd.readouterr()
    assert stack.command("incident", "show", "--json") == 0
    assert json.loads(capfd.readouterr().out)["impact"]["costs"] is None
