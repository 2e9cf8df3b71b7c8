"""What people ask for becomes one event or a refusal that says what to do."""

from dataclasses import replace

import pytest

from surefoot.core.domain import Stage, Version
from surefoot.core.errors import NotFound, Rejected, RolloutInProgress, TransitionIllegal
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.policy.violations import Violation
from surefoot.rollout import (
    PromotionRequest,
    adopt_champion,
    drive_rollout,
    end_rollout,
    open_promotion,
    open_rollback,
)
from tests.fakes import POLICY, Scenario


def finish(scenario: Scenario) -> Ledger:
    """Drive the open rollout to its end."""
    return drive_rollout(scenario.ports(), "m", until=lambda ledger: not ledger.open)


def promote(scenario: Scenario, number: str = "2", *, force: bool = False) -> Ledger:
    """Ask for a version and drive it to its end."""
    open_promotion(scenario.ports(), scenario.request(number, force=force))
    return finish(scenario)


def ledger(scenario: Scenario) -> Ledger:
    """What the journal says now."""
    return fold_entries("m", scenario.journal.entries)


def kinds(scenario: Scenario) -> list[str]:
    """Names of all entries."""
    return [entry.kind for entry in scenario.journal.entries]


def test_adoption_serves_the_registrys_champion() -> None:
    """The first request finds the champion, journals it, and has it served at 100 percent."""
    scenario = Scenario()
    found = adopt_champion(scenario.ports(), "m")
    assert kinds(scenario) == ["ChampionAdopted", "EffectIntended", "EffectDone"]
    assert scenario.traffic.split == found.split
    assert found.split is not None
    assert (found.split.champion.number, found.split.candidate) == ("1", None)
    adopt_champion(scenario.ports(), "m")
    assert len(scenario.journal.entries) == 3


def test_no_champion() -> None:
    """Without an alias `champion` nothing is adopted, and the message says what to set."""
    scenario = Scenario()
    del scenario.registry.aliases["champion"]
    with pytest.raises(Rejected, match="m has no champion yet: set the alias 'champion'"):
        open_promotion(scenario.ports(), scenario.request())
    assert scenario.journal.entries == []


def test_unknown_version() -> None:
    """A version that the registry does not have is not found, and leaves no trace."""
    scenario = Scenario()
    with pytest.raises(NotFound, match="no version 9"):
        open_promotion(scenario.ports(), scenario.request("9"))
    assert scenario.journal.entries == []


def test_bad_policy() -> None:
    """A policy that breaks a rule opens nothing."""
    scenario = Scenario(policy={**POLICY, "unit": 7})
    with pytest.raises(Violation):
        open_promotion(scenario.ports(), scenario.request())
    assert scenario.journal.entries == []


def test_candidate_is_the_champion() -> None:
    """There is nothing to promote when the version already serves."""
    scenario = Scenario()
    with pytest.raises(Rejected, match=r"version 1 of m is the champion: nothing to promote"):
        open_promotion(scenario.ports(), scenario.request("1", force=True))
    assert ledger(scenario).open == ""


def test_candidate_has_the_champions_bytes() -> None:
    """The same bytes under another number are no new model."""
    scenario = Scenario()
    scenario.registry.versions["4"] = Version("4", scenario.registry.versions["1"].digest)
    with pytest.raises(Rejected, match="version 4 of m has the same bytes as champion 1"):
        open_promotion(scenario.ports(), scenario.request("4"))


def test_same_facts_join_the_open_rollout() -> None:
    """Asking twice for the same version is asking once."""
    scenario = Scenario()
    first = open_promotion(scenario.ports(), scenario.request())
    assert open_promotion(scenario.ports("somebody else"), scenario.request()) == first
    assert kinds(scenario).count("RolloutOpened") == 1


def test_opened_rollout_holds_the_plan() -> None:
    """Policy, digests, both versions and the reason are fixed when it opens."""
    scenario = Scenario()
    rollout = open_promotion(scenario.ports(), scenario.request())
    opened = ledger(scenario).rollouts[rollout].opened
    assert (opened.candidate, opened.champion) == (scenario.registry.versions["2"], scenario.registry.versions["1"])
    assert opened.policy == POLICY
    assert (opened.suite_digest, opened.attempt, opened.kind, opened.reason) == (
        "sha256:suite",
        1,
        "promotion",
        "a test asks",
    )


@pytest.mark.parametrize("story", ["bad-shadow", "bad-live", "bad-bake"])
def test_second_attempt_needs_force(story: str) -> None:
    """A version that was turned away is not tried again by itself; the message says how it ended."""
    scenario = Scenario(story)
    promote(scenario)
    with pytest.raises(Rejected, match=r"--force tries it again; it is (Rejected|RolledBack): "):
        open_promotion(scenario.ports(), scenario.request())
    scenario.evidence_source.story = "good"
    salts = {rollout.opened.salt for rollout in ledger(scenario).rollouts.values()}
    done = promote(scenario, force=True)
    first, second = done.rollouts.values()
    assert (first.opened.attempt, second.opened.attempt) == (1, 2)
    assert {second.opened.salt} == salts, "a retry exposes the same users"
    assert first.opened.rollout != second.opened.rollout
    assert done.champion == scenario.registry.versions["2"]


def test_same_bytes_under_another_number_count_as_tried() -> None:
    """A new number does not launder a version that was turned away."""
    scenario = Scenario("bad-shadow")
    promote(scenario)
    scenario.registry.versions["4"] = Version("4", scenario.registry.versions["2"].digest)
    with pytest.raises(
        Rejected, match=r"version 4 of m has the bytes of version 2 and is quarantined: .* it is Rejected"
    ):
        open_promotion(scenario.ports(), scenario.request("4"))


def test_new_candidate_replaces() -> None:
    """By default the newcomer ends the open rollout, which goes back in order, and starts its own."""
    scenario = Scenario()
    open_promotion(scenario.ports(), scenario.request("2"))
    drive_rollout(scenario.ports(), "m", until=lambda seen: bool(seen.rollout and seen.rollout.done))
    second = open_promotion(scenario.ports(), scenario.request("3"))
    now = ledger(scenario)
    assert now.open == second
    assert [rollout.stage for rollout in now.rollouts.values()] == [Stage.SUPERSEDED, Stage.SUBMITTED]
    assert scenario.traffic.split is not None
    assert scenario.traffic.split.candidate is None
    assert finish(scenario).champion == scenario.registry.versions["3"]


def test_superseded_version_may_come_back() -> None:
    """Having been replaced is no verdict: the version is tried again without force."""
    scenario = Scenario()
    open_promotion(scenario.ports(), scenario.request("2"))
    promote(scenario, "3")
    assert promote(scenario, "2").champion == scenario.registry.versions["2"]


def test_baking_champion_is_not_taken_back_for_a_newcomer() -> None:
    """A version that serves everything and bakes is left to its bake; the next one waits."""
    scenario = Scenario()
    open_promotion(scenario.ports(), scenario.request("2"))
    drive_rollout(scenario.ports(), "m", until=lambda seen: bool(seen.rollout and seen.rollout.stage is Stage.BAKING))
    with pytest.raises(RolloutInProgress, match="of version 2 is Baking; version 3 waits for its end"):
        open_promotion(scenario.ports(), scenario.request("3"))
    assert finish(scenario).champion == scenario.registry.versions["2"]


def test_old_champion_is_no_candidate_against_itself() -> None:
    """Asking for the old champion while its successor bakes changes nothing: going back is a rollback."""
    scenario = Scenario()
    open_promotion(scenario.ports(), scenario.request("2"))
    drive_rollout(scenario.ports(), "m", until=lambda seen: bool(seen.rollout and seen.rollout.stage is Stage.BAKING))
    before = len(scenario.journal.entries)
    with pytest.raises(
        Rejected, match="version 1 of m is what the rollout of version 2 goes back to: roll back instead"
    ):
        open_promotion(scenario.ports(), scenario.request("1"))
    assert len(scenario.journal.entries) == before


@pytest.mark.parametrize(("policy", "error"), [("queue", RolloutInProgress), ("reject", Rejected)])
def test_new_candidate_waits_or_is_turned_away(policy: str, error: type[Exception]) -> None:
    """Under queue and reject the open rollout goes on as if nobody had asked."""
    scenario = Scenario(policy={**POLICY, "on_new_candidate": policy})
    first = open_promotion(scenario.ports(), scenario.request("2"))
    before = len(scenario.journal.entries)
    with pytest.raises(error, match=f"rollout {first} of version 2 is Submitted"):
        open_promotion(scenario.ports(), scenario.request("3"))
    assert len(scenario.journal.entries) == before
    assert finish(scenario).champion == scenario.registry.versions["2"]


def test_open_rollback_is_not_replaced() -> None:
    """Nothing pushes a rollback aside."""
    scenario = Scenario()
    promote(scenario)
    open_rollback(scenario.ports(), "m", "operator")
    with pytest.raises(RolloutInProgress, match="version 3 waits"):
        open_promotion(scenario.ports(), scenario.request("3"))
    assert finish(scenario).champion == scenario.registry.versions["1"]


def test_abort_needs_a_rollout() -> None:
    """There is nothing to abort when nothing is open."""
    scenario = Scenario()
    with pytest.raises(NotFound, match="the journal holds nothing of m; known: none"):
        end_rollout(scenario.ports(), "m", Stage.ABORTED, "operator")
    adopt_champion(scenario.ports(), "m")
    with pytest.raises(TransitionIllegal, match="nothing to abort"):
        end_rollout(scenario.ports(), "m", Stage.ABORTED, "operator")
    promote(scenario)
    with pytest.raises(TransitionIllegal):
        end_rollout(scenario.ports(), "m", Stage.ABORTED, "operator")


def test_abort_twice_is_abort_once() -> None:
    """The first decision stands."""
    scenario = Scenario()
    open_promotion(scenario.ports(), scenario.request())
    end_rollout(scenario.ports(), "m", Stage.ABORTED, "first")
    end_rollout(scenario.ports(), "m", Stage.ROLLED_BACK, "second")
    open_rollback(scenario.ports(), "m", "third")
    assert kinds(scenario).count("EndDecided") == 1
    assert finish(scenario).rollouts.popitem()[1].reason == "first"  # type: ignore[attr-defined]


def test_abort_does_not_stop_a_rollback() -> None:
    """A rollback runs to its end."""
    scenario = Scenario()
    promote(scenario)
    open_rollback(scenario.ports(), "m", "operator")
    end_rollout(scenario.ports(), "m", Stage.ABORTED, "changed my mind")
    assert finish(scenario).champion == scenario.registry.versions["1"]


@pytest.mark.parametrize("number", [None, "1"])
def test_rollback_without_a_proven_version(number: str | None) -> None:
    """Without an earlier champion there is nothing to go back to, and the message says who is proven."""
    scenario = Scenario()
    with pytest.raises(NotFound, match="the journal holds nothing of m; known: none"):
        open_rollback(scenario.ports(), "m", "operator", number)
    adopt_champion(scenario.ports(), "m")
    with pytest.raises(Rejected, match=r"no other proven-good version to go back to \(proven-good: 1\)"):
        open_rollback(scenario.ports(), "m", "operator", number)


def test_rollback_asked_twice_goes_back_once() -> None:
    """The second request does not take the good version back as well; going further needs a name."""
    scenario = Scenario()
    promote(scenario, "2")
    promote(scenario, "3")
    open_rollback(scenario.ports(), "m", "operator")
    assert finish(scenario).champion == scenario.registry.versions["2"]
    with pytest.raises(Rejected, match=r"back at version 2 already .*; name a proven-good version with --to"):
        open_rollback(scenario.ports(), "m", "the other operator")
    open_rollback(scenario.ports(), "m", "operator", "1")
    assert finish(scenario).champion == scenario.registry.versions["1"]


def test_rollback_when_idle_after_a_promotion() -> None:
    """The last proven-good version is served and registered again, and who was taken back is no target."""
    scenario = Scenario()
    promote(scenario)
    opened = open_rollback(scenario.ports(), "m", "operator").rollout
    assert opened is not None
    assert (opened.opened.kind, opened.opened.candidate.number, opened.opened.champion.number) == ("rollback", "1", "2")
    done = finish(scenario)
    assert scenario.picture() == (("Promoted", "FastRolledBack"), {"champion": "1"}, ("1", None, 0.0))
    assert [version.number for version in done.proven] == ["1"]
    with pytest.raises(Rejected):
        open_rollback(scenario.ports(), "m", "again")


def test_rollback_to_a_named_version() -> None:
    """Any proven-good version can be named; one that never baked cannot."""
    scenario = Scenario()
    promote(scenario, "2")
    promote(scenario, "3")
    for number in ("3", "9"):
        with pytest.raises(Rejected, match=r"proven-good: 1, 2, 3"):
            open_rollback(scenario.ports(), "m", "operator", number)
    open_rollback(scenario.ports(), "m", "operator", "1")
    assert finish(scenario).champion == scenario.registry.versions["1"]
    assert scenario.registry.aliases == {"champion": "1", "previous": "2"}


def test_failed_candidate_is_no_target() -> None:
    """A version that was rolled back in its canary is never named as a target."""
    scenario = Scenario("bad-live")
    promote(scenario)
    with pytest.raises(Rejected, match=r"proven-good: 1\)"):
        open_rollback(scenario.ports(), "m", "operator", "2")


def test_rollback_of_an_open_rollout() -> None:
    """While a rollout is open a rollback ends it; naming a version then is refused."""
    scenario = Scenario()
    open_promotion(scenario.ports(), scenario.request())
    drive_rollout(scenario.ports(), "m", until=lambda seen: bool(seen.rollout and seen.rollout.stage is Stage.RAMPING))
    with pytest.raises(TransitionIllegal, match="roll back without naming a version, or abort"):
        open_rollback(scenario.ports(), "m", "operator", "1")
    open_rollback(scenario.ports(), "m", "operator")
    finish(scenario)
    assert scenario.picture()[0] == ("RolledBack",)


def test_rollback_needs_the_journal_and_nothing_else() -> None:
    """Deciding a rollback asks neither registry nor gateway nor evidence."""
    scenario = Scenario()
    promote(scenario)
    ports = scenario.ports()
    for name in ("registry", "traffic", "evidence_source"):
        object.__setattr__(ports, name, None)
    assert open_rollback(ports, "m", "operator").open


def test_identity_follows_the_facts() -> None:
    """Another policy, suite or attempt is another rollout."""
    ids = set()
    for policy, suite in ((POLICY, "a"), (POLICY, "b"), ({**POLICY, "owners": ["others"]}, "a")):
        scenario = Scenario()
        ids.add(open_promotion(scenario.ports(), PromotionRequest(policy, suite, "2", "")))
    again = Scenario()
    assert open_promotion(again.ports(), PromotionRequest(POLICY, "a", "2", "another reason")) in ids
    assert len(ids) == 3


def test_a_version_that_cannot_be_loaded_is_rejected_once() -> None:
    """It ends as Rejected right after its rollout has opened, with the reason in the journal; it is not tried again."""
    scenario, tried = Scenario(), list[str]()
    why = "version 2 of m cannot be served here: it needs the module 'torch'"

    def trial(_model: str, version: Version) -> str:
        tried.append(version.number)
        return why

    ports = replace(scenario.ports(), trial=trial)
    rollout = open_promotion(ports, scenario.request("2"))
    ended = ledger(scenario).rollouts[rollout]
    assert (ledger(scenario).open, ended.stage, ended.reason, tried) == ("", Stage.REJECTED, why, ["2"])
    assert scenario.traffic.split is not None
    assert scenario.traffic.split.champion.number == "1"
    with pytest.raises(Rejected, match=r"is quarantined: .* it is Rejected: .*'torch'"):
        open_promotion(ports, scenario.request("2"))
    assert tried == ["2"]


def test_a_version_is_tried_before_its_rollout_goes_on() -> None:
    """A run that was killed between opening and trying tries when it joins; a rollout under way is not tried."""
    scenario, tried = Scenario(), list[str]()

    def trial(_model: str, version: Version) -> str:
        tried.append(version.number)
        return ""

    rollout = open_promotion(scenario.ports(), scenario.request("2"))
    ports = replace(scenario.ports(), trial=trial)
    assert open_promotion(ports, scenario.request("2")) == rollout
    assert tried == ["2"]
    drive_rollout(
        scenario.ports(), "m", until=lambda seen: seen.rollout is None or seen.rollout.stage is not Stage.SUBMITTED
    )
    open_promotion(ports, scenario.request("2"))
    assert tried == ["2"]
