"""A champion that decays weeks after its bake is taken back by the flow `watch`, on a real stack."""

import time

from tests.e2e.promotion_fixtures import QUICK, SUITE
from tests.e2e.stack_scenario import DAY, HOUR, PATIENCE, Scenario, wait_for, write

MODEL = "villas"
POLICY = QUICK.replace(
    "  errors: { metric: error_rate, margin: 10pp }\n",
    "  errors: { metric: error_rate, margin: 10pp }\n"
    "  worse: { metric: absolute_error, margin: 10, labels: { maturity: 12h, coverage: 0.9 }, block: 1d }\n",
).replace("bake: { for: 7d,", "watch: { every: 1d, window: 7d, gates: [worse] }\nbake: { for: 1d,")


def test_a_champion_that_decays_after_its_bake_goes_back(stack: Scenario) -> None:
    """While it is right a look changes nothing; later the version before would do better, and serves again."""
    write(stack.project, MODEL, POLICY)
    (stack.project / "expectations" / "cabins.json").write_text(SUITE.replace("MODEL", "cabins"))
    stack.flow("reconcile")
    wait_for(lambda: stack.serves(MODEL), "the champion is served")
    callers = stack.callers(MODEL)
    callers.live(2 * DAY)
    stack.point(MODEL, "candidate", "2")
    stack.flow("reconcile")
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
    assert callers.failed == 0
    assert stack.flow("watch")["state_type"] == "COMPLETED"  # the version that serves now is under no policy's watch
    refused = stack.run("watch", MODEL)
    assert refused.returncode == 2
    assert "no champion of villas is watched" in refused.stderr
