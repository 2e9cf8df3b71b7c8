"""`surefoot promote --dry-run`: a promotion is judged up to its first request, and nothing is changed."""

from typing import Any

import pytest

from surefoot.core.domain import Outcome, Stage
from surefoot.core.errors import Rejected
from surefoot.core.journal.chain import Entry, check_chain
from surefoot.core.judging.evidence import Evidence, MissingEvidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.policy.parse import parse_policy
from surefoot.rollout import adopt_champion, drive_rollout, open_promotion, try_promotion
from tests.fakes import APPROVED, BY_ALIAS, MIRRORED, POLICY, Scenario
from tests.scripted import scenario, started


def _state(env: Scenario) -> tuple[object, ...]:
    return (
        len(env.journal.entries),
        dict(env.registry.aliases),
        list(env.registry.changes),
        list(env.traffic.changes),
        list(env.config_files.writes),
        list(env.data_layer.restores),
    )


def _served(policy: dict[str, Any], story: str = "good") -> Scenario:
    """A model whose champion is served."""
    env = Scenario(story, policy=dict(policy))
    adopt_champion(env.ports(), "m", parse_policy(policy).traffic.engine_choice)
    return env


@pytest.mark.parametrize("policy", [POLICY, MIRRORED, BY_ALIAS, APPROVED], ids=["ramp", "mirror", "alias", "approved"])
@pytest.mark.parametrize("story", ["good", "bad-data", "bad-shadow", "bad-live"])
def test_a_dry_run_is_the_beginning_of_the_promotion(story: str, policy: dict[str, Any]) -> None:
    """Its entries are those that the promotion begins with, whatever comes of it; nothing has changed before."""
    env = _served(policy, story)
    before, head = _state(env), len(env.journal.entries)
    told: list[Entry] = []
    found = try_promotion(env.ports(), "m", env.request(), told.append)
    assert _state(env) == before
    assert tuple(told) == found.entries
    check_chain([*env.journal.entries, *found.entries])
    open_promotion(env.ports(), env.request())
    drive_rollout(env.ports(), "m", until=lambda seen: not seen.open, wait=False)
    real = [(entry.kind, entry.data) for entry in env.journal.entries[head:]]
    assert real[: len(found.entries)] == [(entry.kind, entry.data) for entry in found.entries]
    entered = {data["stage"] for kind, data in real if kind == "StageEntered"}
    assert found.would_go_on is bool(entered - {"Validating", "Shadowing"})
    assert bool(found.rollout.ending) is (story == "bad-shadow")
    assert bool(found.why_it_waits) is (story == "bad-data")


def test_gates_that_have_not_decided_say_what_they_wait_for() -> None:
    """A shadow without requests ends the dry run with what it waits for, not in a wait of days."""

    def play(question: EvidenceRequest) -> Evidence | None:
        return None if question.kind == "data" else MissingEvidence(Outcome.NO_DATA, "no request is logged")

    env = scenario(POLICY, play)
    adopt_champion(env.ports(), "m")
    before = _state(env)
    found = try_promotion(env.ports(), "m", env.request())
    assert _state(env) == before
    assert found.why_it_waits
    assert not found.would_go_on
    assert found.rollout.ending is None


def test_what_a_promotion_is_refused_for_a_dry_run_is_refused_for() -> None:
    """An open rollout, no champion that serves, the champion itself and a quarantined version are each refused."""
    with pytest.raises(Rejected, match="no version of m is served yet"):
        try_promotion(Scenario().ports(), "m", Scenario().request())
    env = scenario()
    started(env, lambda ledger: ledger.rollout is not None and ledger.rollout.stage is Stage.RAMPING)
    with pytest.raises(Rejected, match=r"rollout \w+ of m is open \(Ramping\)"):
        try_promotion(env.ports(), "m", env.request())
    with pytest.raises(Rejected):
        try_promotion(_served(POLICY).ports(), "m", env.request("1"))
    bad = _served(POLICY, "bad-shadow")
    open_promotion(bad.ports(), bad.request())
    drive_rollout(bad.ports(), "m", until=lambda seen: not seen.open)
    with pytest.raises(Rejected, match="release"):
        try_promotion(bad.ports(), "m", bad.request())
    assert try_promotion(bad.ports(), "m", bad.request(force=True)).rollout.ending


def test_a_version_that_cannot_be_loaded_is_rejected_by_a_dry_run() -> None:
    """What the trial load says is what the dry run says, and nothing is journalled."""
    env = _served(POLICY)
    before = _state(env)
    ports = env.ports()
    object.__setattr__(ports, "trial", lambda _model, _version: "package lightgbm is not installed")
    found = try_promotion(ports, "m", env.request())
    assert found.rollout.ending
    assert found.rollout.ending.reason == "package lightgbm is not installed"
    assert _state(env) == before
