"""A drill proves the way back for a time; a stale proof holds back promotions, and never a rollback."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.domain import Stage, Version
from surefoot.core.drills.drill_events import DrillFinished, DrillResult
from surefoot.core.drills.drill_faults import FAULTS, DrillFault
from surefoot.core.drills.drill_state import TABLETOP_MODE, DrillState
from surefoot.core.errors import Rejected
from surefoot.core.incidents.incident_statistics import compute_incident_statistics
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.recovery.drill import DrillSection
from surefoot.core.policy.violations import Violation
from surefoot.core.served_versions.finished_drills import finished_drills
from surefoot.core.served_versions.version_checks import latest_checks
from surefoot.rollout import (
    adopt_champion,
    drive_rollout,
    open_promotion,
    open_requested_rollout,
    open_rollback,
    record_drill,
)
from tests.fakes import POLICY, Scenario

DAY = 86400.0
ONE, TWO = Version("1", "sha256:one"), Version("2", "sha256:two")
PASSED = DrillResult(DrillFault.ERRORS, True, "errors", 40, 12.0, 8.0, "the model itself", True, 0)
MISSED = replace(PASSED, fault=DrillFault.NAN, detected=False, gate="", restore_ms=None, problem="no gate has seen it")
SECTION = DrillSection.model_validate({"every": "7d", "expires": "14d"})


def drilled(*results: DrillResult, mode: str = "twin") -> DrillFinished:
    """A finished drill."""
    return DrillFinished("d1", mode, TWO, ONE, results, 1, 60.0)


def scenario(**section: object) -> Scenario:
    """The fakes' world under a policy that asks for drills."""
    return Scenario(policy={**POLICY, "drill": {"every": "7d", "expires": "14d", **section}})


def test_without_a_drill_no_version_is_promoted() -> None:
    """The refusal is one line that names the command; after a passed drill the same promotion opens."""
    env = scenario()
    adopt_champion(env.ports(), "m")
    with pytest.raises(Rejected, match=r"has not been proven by a drill yet: 'surefoot drill m' rehearses it") as said:
        open_promotion(env.ports(), env.request())
    assert "\n" not in str(said.value)
    record_drill(env.ports(), "m", drilled(PASSED, MISSED))
    with pytest.raises(Rejected, match="not been proven by a drill yet, and the last drill has failed"):
        open_promotion(env.ports(), env.request(force=True))
    record_drill(env.ports(), "m", drilled(PASSED))
    open_promotion(env.ports(), env.request())
    assert drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open).champion == env.registry.versions["2"]


def test_a_stale_drill_holds_back_a_promotion_and_no_rollback() -> None:
    """Fourteen days after the last passed drill a promotion is refused, and the promoted version still goes back."""
    env = scenario()
    adopt_champion(env.ports(), "m")
    record_drill(env.ports(), "m", drilled(PASSED))
    open_promotion(env.ports(), env.request())
    drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    env.clock.time += 15 * DAY
    with pytest.raises(Rejected, match=r"last proven .* ago, and the policy's drill.expires is 14 d"):
        open_promotion(env.ports(), env.request("3"))
    open_rollback(env.ports(), "m", "alerts doubled")
    ledger = drive_rollout(env.ports(), "m", until=lambda ledger: not ledger.open)
    assert ledger.champion == env.registry.versions["1"]
    assert ledger.rollouts[[*ledger.rollouts][-1]].stage is Stage.FAST_ROLLED_BACK


def test_what_was_refused_for_want_of_a_drill_is_tried_again_after_one() -> None:
    """A refusal of the registry's wish is journalled once, and a finished drill brings the wish back."""
    env = scenario()
    adopt_champion(env.ports(), "m")
    env.registry.aliases["candidate"] = "2"

    def tick() -> str:
        view = env.registry.view("m")
        return open_requested_rollout(env.ports(), "m", view, lambda wish: env.request(wish.number), "same").number

    assert (tick(), tick()) == ("", "")
    refused = [entry for entry in env.journal.entries if entry.kind == "CandidateRefused"]
    assert ["drill" in str(entry.data["reason"]) for entry in refused] == [True]
    record_drill(env.ports(), "m", drilled(PASSED))
    assert tick() == "2"


def test_nothing_is_rehearsed_for_a_model_without_a_champion() -> None:
    """A drill of a model that does not serve is refused, for no way back was proven."""
    env = scenario()
    with pytest.raises(Rejected, match="m has no champion in the journal"):
        record_drill(env.ports(), "m", drilled(PASSED))


@given(
    st.lists(
        st.tuples(st.floats(0.1, 30.0), st.booleans(), st.sampled_from(["twin", "live", TABLETOP_MODE])), max_size=12
    ),
    st.floats(0.0, 40.0),
)
def test_only_a_passed_drill_that_is_young_enough_lets_a_promotion_through(
    drills: list[tuple[float, bool, str]], later: float
) -> None:
    """Law: a promotion is let through exactly if a passed drill, no tabletop exercise, is younger than `expires`."""
    state, now, passed = DrillState(), 0.0, []
    for gap, works, mode in drills:
        now += gap * DAY
        state = state.after_drill(drilled(PASSED if works else MISSED, mode=mode), now)
        passed += [now] if works and mode != TABLETOP_MODE else []
    now += later * DAY
    young = any(now - at < SECTION.expires for at in passed)
    assert (state.promotion_problem("m", SECTION, now) == "") is young
    assert state.promotion_problem("m", None, now) == ""
    counted = [mode for _, _, mode in drills if mode != TABLETOP_MODE]
    assert state.is_due(SECTION, state.last_at + SECTION.every + 1.0)
    assert state.is_due(SECTION, state.last_at) is not bool(counted)
    assert not state.is_due(None, now)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"every": "7d", "expires": "7d"}, "must be longer than 'every'"),
        ({"faults": ["errors", "gremlins"]}, "'gremlins' is not a fault that a drill injects: errors, slowness, nan"),
        ({"often": "7d"}, "often"),
        ({"every": "0s"}, "every"),
    ],
)
def test_a_wrong_section_is_refused_by_its_rule(section: dict[str, object], said: str) -> None:
    """Each wrong value of `drill:` is refused with what is wrong about it."""
    with pytest.raises(Violation, match=said):
        parse_policy({**POLICY, "drill": section})


def test_a_policy_chooses_its_faults_and_has_them_all_without_a_word() -> None:
    """`faults` lists what a scheduled drill injects; each fault says what it does and which causes are right."""
    assert SECTION.chosen == tuple(DrillFault)
    assert DrillSection.model_validate({"faults": ["nan"]}).chosen == (DrillFault.NAN,)
    assert parse_policy(POLICY).drill is None
    assert set(FAULTS) == set(DrillFault)
    assert all(one.what and one.causes for one in FAULTS.values())


def test_a_drill_is_told_in_the_ledger_of_versions_and_in_the_statistics() -> None:
    """The target's last drill says under which fault the way back failed; statistics count each rehearsed rollback."""
    env = scenario()
    adopt_champion(env.ports(), "m")
    record_drill(env.ports(), "m", drilled(PASSED, MISSED))
    record_drill(env.ports(), "m", drilled(PASSED, mode=TABLETOP_MODE))
    entries = env.journal.read("m")
    (known,) = latest_checks("m", entries).items()
    assert (known[0], known[1].tried, known[1].problems) == (
        "1",
        ("rollback",),
        ("rollback: nan (no gate has seen it)",),
    )
    counted = compute_incident_statistics("m", (), (one.event for one in finished_drills(entries)))
    assert (counted.drills, counted.failed_drills, counted.drill_to_restore) == (2, 1, 0.008)
    assert describe_event(drilled(PASSED)) == (
        "rollback from version 2 rehearsed in a twin of production under 1 fault: the way back works"
    )
