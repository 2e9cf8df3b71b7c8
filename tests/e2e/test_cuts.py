"""A candidate that is cut at the gateway, by the fuse or by a person, ends its rollout in the journal."""

import pytest

from tests.e2e.promotion_fixtures import Cabins, follow, warm
from tests.e2e.stack_scenario import wait_for


def _ends(cabins: Cabins, model: str) -> tuple[str, str, str]:
    """Terminal stage, gate and reason of the newest decision to end."""
    *_, data = [data for _, kind, data in cabins.home.entries(model) if kind == "EndDecided"]
    return data["sink"], data["gate"], data["reason"]


def test_the_kill_switch_cuts_every_candidate_and_ends_its_rollout(cabins: Cabins) -> None:
    """One command sets a ramping candidate to 0 and rolls it back; nothing goes up again before it is lifted."""
    model = "cabins-cut"
    callers = warm(cabins, model)
    process = cabins.home.start("promote", model, "2", "--here")
    wait_for(lambda: cabins.scenario.serving(model) == ("1", "2", 25.0), "the weight is live", nap=0.02)
    said = cabins.home.run("kill", "--reason", "it smells")
    try:
        assert said.returncode == 0, said
        assert cabins.scenario.serving(model)[2] == 0.0
        follow(process, callers)
        assert cabins.home.stage(model) == "RolledBack"
        assert _ends(cabins, model) == ("RolledBack", "kill switch", "it smells")
        assert callers.failed == 0
    finally:
        lifted = cabins.home.run("kill", "--lift")
    assert "lifted" in lifted.stdout


@pytest.mark.sweep
def test_a_blown_fuse_is_in_the_journal_and_ends_the_rollout(cabins: Cabins) -> None:
    """What the gateway tells of a cut is an entry of the rollout, and the run that drives it rolls it back."""
    model = "cabins-trip"
    callers = warm(cabins, model)
    process = cabins.home.start("promote", model, "2", "--here")
    wait_for(lambda: cabins.scenario.serving(model) == ("1", "2", 25.0), "the weight is live", nap=0.02)
    rollout = cabins.home.ledger(model).open
    cabins.home.python(
        "import json\nfrom surefoot import rollout, settings, wiring\n"
        "with wiring.open_ports(settings.read_settings(), 'gateway') as ports:\n"
        f"    rollout.end_rollout_cut_by_gateway(ports, {model!r}, 'another', 'of an older rollout')\n"
        f"    rollout.end_rollout_cut_by_gateway(ports, {model!r}, {rollout!r}, 'failed 20 requests in a row')\n"
        "print(json.dumps(None))"
    )
    follow(process, callers)
    assert cabins.home.stage(model) == "RolledBack"
    assert _ends(cabins, model) == ("RolledBack", "tripwire", "failed 20 requests in a row")
    assert cabins.scenario.serving(model) == ("1", None, 0.0) or cabins.scenario.serving(model)[2] == 0.0
