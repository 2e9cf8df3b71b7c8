"""A champion that decays weeks after its bake is taken back by the flow `watch`, on a real stack."""

import json
import time
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.promotion_fixtures import QUICK, SUITE
from tests.e2e.stack_scenario import DAY, HOUR, PATIENCE, Callers, Scenario, wait_for, write

MODEL = "villas"
POLICY = QUICK.replace(
    "  errors: { metric: error_rate, margin: 10pp }\n",
    "  errors: { metric: error_rate, margin: 10pp }\n"
    "  worse: { metric: absolute_error, margin: 10, labels: { maturity: 12h, coverage: 0.9 }, block: 1d }\n",
).replace("bake: { for: 7d,", "watch: { every: 1d, window: 7d, gates: [worse] }\nbake: { for: 1d,")


@pytest.fixture(scope="module")
def decayed(stack: Scenario) -> Callers:
    """A champion that is promoted, is right for a week, decays, and is taken back; its callers."""
    write(stack.project, MODEL, POLICY)
    (stack.project / "expectations" / "cabins.json").write_text(SUITE.replace("MODEL", "cabins"))
    stack.tick()
    wait_for(lambda: stack.serves(MODEL), "the champion is served")
    callers = stack.callers(MODEL)
    callers.live(2 * DAY)
    stack.point(MODEL, "candidate", "2")
    stack.tick()
    deadline = time.monotonic() + PATIENCE
    while stack.stage(MODEL) != "Promoted":
        assert time.monotonic() < deadline, stack.stage(MODEL)
        callers.live(3 * HOUR)
        if stack.stage(MODEL) == "Baking":
            stack.flow("watch")
        time.sleep(0.1)
    callers.live(6 * DAY)
    quiet = stack.flow("watch")
    assert quiet["state_type"] == "COMPLETED"
    assert quiet["name"] == f"watch: looked at {MODEL}"
    assert stack.serving(MODEL) == ("2", None, 0.0)
    callers.by_area = True
    callers.live(10 * DAY)
    assert stack.flow("watch")["state_type"] == "COMPLETED"
    return callers


def test_a_champion_that_decays_after_its_bake_goes_back(stack: Scenario, decayed: Callers) -> None:
    """While it is right a look changes nothing; later the version before would do better, and serves again."""
    assert stack.serving(MODEL) == ("1", None, 0.0)
    assert stack.aliases(MODEL)["champion"] == "1"
    found = [(kind, data) for _, kind, data in stack.entries(MODEL)]
    judged = [data["verdict"]["outcome"] for kind, data in found if kind == "ChampionJudged"]
    assert judged[-1] == "FAIL"
    assert "FAIL" not in judged[:-1]
    (incident,) = [data for kind, data in found if kind == "IncidentOpened"]
    assert incident["champion"]["number"] == "2"
    assert "the version before would do better now" in incident["reason"]
    verified = stack.run("verify", MODEL)
    assert verified.returncode == 0, verified.stderr
    assert decayed.failed == 0
    assert stack.flow("watch")["state_type"] == "COMPLETED"  # the version that serves now is under no policy's watch
    refused = stack.run("watch", MODEL)
    assert refused.returncode == 2
    assert "no champion of villas is watched" in refused.stderr


@pytest.fixture(scope="module")
def report(stack: Scenario, decayed: Callers) -> Path:
    """The report of the champion's incident, once the list of its answers is in it."""
    decayed.live(HOUR)  # all of its answers are in the prediction log now
    stack.tick()
    (incident,) = stack.ledger(MODEL).incidents.known.values()
    assert incident.reported is not None
    assert incident.reported.requests
    return stack.settings.home / incident.reported.file


def test_its_incident_tells_what_happened(stack: Scenario, decayed: Callers, report: Path) -> None:
    """Onset, detection, traffic and registry stand in the record by themselves, and who got answers since the onset."""
    said = stack.run("incident", "show", "--json")
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    moments = {row["moment"]: row["at"] for row in found["timeline"]}
    assert moments["onset"] < moments["detected"] <= moments["rollback decided"] <= moments["traffic back"]
    assert moments["traffic back"] <= moments["registry restored"]
    assert found["impact"]["requests"] <= found["impact"]["all_answers"]
    assert (found["page"], found["state"], decayed.failed) == (str(report), "open", 0)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_the_report_opens_offline_in_a_browser(
    report: Path, page: Page, tmp_path: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    """It shows its plots in light and dark, wide and narrow, without errors or scrolling sideways."""
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.context.set_offline(True)
    try:
        page.goto(report.as_uri())
        expect(page.get_by_role("heading", level=1)).to_contain_text("Version 2 of villas was taken back")
        loaded = page.evaluate("Array.from(document.images).map(image => image.naturalWidth > 0)")
        assert loaded
        assert all(loaded)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=tmp_path / f"incident-{width}-{scheme}.png", full_page=True)
    finally:
        page.context.set_offline(False)
    assert trouble == []
