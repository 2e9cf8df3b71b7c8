"""Which version may be the fallback of a model, when it is drilled, and what the gateway is told of it."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.controller.standbys import StandbySender
from surefoot.controller.tick_state import CachedPorts
from surefoot.core.answers.fallback_check import check_fallback_version_answers
from surefoot.core.domain import FailoverLevel, RolloutKind, Stage, Version
from surefoot.core.errors import FallbackInvalid, Rejected
from surefoot.core.fallback import FallbackReference, FallbackVersion
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import RolloutOpened, decode_event, encode_event
from surefoot.core.journal.fallback_events import FallbackDrilled
from surefoot.core.journal.ledger import Ledger, Rollout
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.violations import Violation
from surefoot.core.served_versions.fallback_version import (
    choose_fallback_version,
    judge_fallback_check,
    why_fallback_barred,
)
from surefoot.core.served_versions.quarantine import Quarantine
from surefoot.rollout import (
    Ports,
    adopt_champion,
    begin_fallback_period,
    check_fallback,
    drive_rollout,
    end_fallback_period,
    open_promotion,
)
from tests.fakes import POLICY, Scenario

VERSIONS = [Version(str(number), f"sha256:{number:064}") for number in range(1, 6)]
SOURCE = FallbackReference("base", "7")
BASE = Version("7", f"sha256:{7:064}")
GOOD = FallbackDrilled("pyfunc", BASE.digest, 5, "", SOURCE, BASE)
UNUSABLE = FallbackDrilled("pyfunc", "", 0, "models:/base/7 cannot be loaded: its files are gone", SOURCE)


def with_drill(
    env: Scenario, found: FallbackDrilled | Callable[[], FallbackDrilled | None] | None
) -> tuple[Ports, list[FallbackVersion | None]]:
    """Ports whose drill gives this result, and what the gateway is told."""
    told: list[FallbackVersion | None] = []
    return replace(
        env.ports(),
        run_fallback_check=lambda _model, _champion: found() if callable(found) else found,
        set_fallback=lambda _model, fallback: told.append(fallback),
    ), told


@pytest.mark.parametrize(
    ("written", "model", "number"),
    [(3, "m", "3"), ("3", "m", "3"), ("models:/base/12", "base", "12"), ("models:/a b@c/1", "a b@c", "1")],
)
def test_a_policy_names_a_version(written: object, model: str, number: str) -> None:
    """A number is a version of the policy's own model; another model is named as MLflow's users name it."""
    policy = parse_policy({**POLICY, "fallback": {"pyfunc": written}})
    assert policy.fallback_reference == FallbackReference(model, number)
    assert policy.fallback_answer is None


@pytest.mark.parametrize(
    "written",
    [
        0, -1, 1.5, True, None, "", "v3", "latest", "models:/base", "models:/base/", "models:/base@champion", [],
        "models:/base/Production", "models:/../3", "models:/a/b/3", "runs:/0/model", "3 ", "models:/base/0", {},
    ],
)  # fmt: skip
def test_what_names_no_version_is_refused(written: object) -> None:
    """An alias or a stage may move, so that the journal could not say what answers; the error is one line."""
    with pytest.raises(Violation) as refused:
        parse_policy({**POLICY, "fallback": {"pyfunc": written}})
    assert refused.value.path[:2] == ("fallback", "pyfunc")
    assert "\n" not in refused.value.rule


def test_a_rollout_journals_and_names_the_version() -> None:
    """The drill and the digest stand in the journal before the rollout opens, and the gateway is told."""
    env = Scenario()
    ports, told = with_drill(env, GOOD)
    rollout = open_promotion(ports, env.request("2"))
    ledger = ports.ledger("m")
    assert ledger.rollouts[rollout].opened.fallback_digest == BASE.digest
    assert ledger.fallback == FallbackVersion("base", BASE)
    assert told == [FallbackVersion("base", BASE)]
    kinds = [entry.kind for entry in env.journal.entries]
    assert kinds.index("FallbackDrilled") + 1 == kinds.index("RolloutOpened")


def test_a_version_that_cannot_be_loaded_stops_a_promotion() -> None:
    """It is refused before anything is journalled; the fallback that the gateway has stays, also after a drill."""
    env = Scenario()
    answers = [GOOD, UNUSABLE, UNUSABLE]
    ports, told = with_drill(env, lambda: answers.pop(0))
    adopt_champion(ports, "m")
    check_fallback(ports, "m")
    head = ports.ledger("m").head
    with pytest.raises(FallbackInvalid, match="its files are gone"):
        open_promotion(ports, env.request("2"))
    assert ports.ledger("m").head == head
    check_fallback(ports, "m")
    ledger = ports.ledger("m")
    assert ledger.drilled is not None
    assert ledger.drilled[0] == UNUSABLE
    assert ledger.fallback == FallbackVersion("base", BASE)
    assert set(told) == {FallbackVersion("base", BASE)}


def test_a_drill_that_fails_stops_nothing() -> None:
    """A version that answers in another shape is told, and is the fallback even so, as a table is."""
    env = Scenario()
    ports, told = with_drill(env, replace(GOOD, problem="it answers a text, and the champion answers a number"))
    open_promotion(ports, env.request("2"))
    ledger = drive_rollout(ports, "m", until=lambda ledger: not ledger.open)
    assert [one.stage for one in ledger.rollouts.values()] == [Stage.PROMOTED]
    assert told == [FallbackVersion("base", BASE)]


def test_another_kind_of_fallback_forgets_the_version() -> None:
    """Once a constant was drilled, no version is named any more."""
    env = Scenario()
    answers = [GOOD, FallbackDrilled("constant", "", 5, "")]
    ports, _ = with_drill(env, lambda: answers.pop(0))
    adopt_champion(ports, "m")
    check_fallback(ports, "m")
    check_fallback(ports, "m")
    assert ports.ledger("m").fallback is None


@given(
    st.sampled_from(VERSIONS),
    st.sets(st.sampled_from(VERSIONS)),
    st.sampled_from(VERSIONS),
    st.sampled_from(VERSIONS),
    st.sampled_from([None, *RolloutKind]),
)
def test_no_version_that_is_on_trial_or_was_taken_back_is_the_fallback(
    fallback: Version, held: set[Version], champion: Version, candidate: Version, kind: RolloutKind | None
) -> None:
    """It is loaded exactly when it is not quarantined, and not the candidate of a promotion that is open."""
    quarantined = {one.digest: Quarantine(one, Stage.REJECTED, "", "", 0.0) for one in held}
    named = FallbackVersion("m", fallback)
    ledger = Ledger("m", champion=champion, quarantined=quarantined, fallback=named)
    if kind is not None:
        opened = RolloutOpened("r", kind, candidate, champion, {}, "", "", "", 1, "")
        ledger = replace(ledger, open="r", rollouts={"r": Rollout(opened, 0.0)})
    on_trial = kind is RolloutKind.PROMOTION and fallback == candidate
    barred = fallback in held or on_trial
    assert choose_fallback_version(ledger) == (None if barred else named)
    assert bool(why_fallback_barred(ledger, fallback)) == barred
    found = FallbackDrilled("pyfunc", fallback.digest, 1, "", FallbackReference("m", fallback.number), fallback)
    assert bool(judge_fallback_check(ledger, found, champion).problem) == (barred or fallback == champion)


def test_a_drill_before_a_rollout_knows_its_candidate() -> None:
    """A fallback that is the candidate itself is told before the rollout opens, when nothing is open yet."""
    assert judge_fallback_check(Ledger("m"), GOOD, VERSIONS[0], BASE).problem.startswith("it is the candidate")
    assert judge_fallback_check(Ledger("m"), GOOD, VERSIONS[0], VERSIONS[1]).problem == ""


def test_files_that_have_changed_are_not_loaded() -> None:
    """A version whose bytes are not those of the journal is unusable, whatever its answers; another number is not."""
    ledger = Ledger("m", fallback=FallbackVersion("base", BASE))
    changed = replace(BASE, digest=f"sha256:{8:064}")
    found = judge_fallback_check(ledger, replace(GOOD, digest=changed.digest, version=changed), VERSIONS[0])
    assert found.is_unusable
    assert found.fallback_version is None
    assert BASE.digest in found.problem
    other = replace(changed, number="8")
    source = FallbackReference("base", "8")
    assert (
        judge_fallback_check(ledger, FallbackDrilled("pyfunc", other.digest, 1, "", source, other), VERSIONS[0]).problem
        == ""
    )


@pytest.mark.parametrize(
    ("answers", "errors", "problem"),
    [
        ([0.5, 0.25], [], ""),
        ([[0.5]], [], "it answers a list of 1 numbers, and the champion answers a number"),
        ([0.5], ["ValueError: no", "KeyError: x"], "it fails 2 of them: ValueError: no"),
        ([], [], ""),
    ],
)
def test_a_drill_says_what_callers_would_get(answers: list[object], errors: list[str], problem: str) -> None:
    """Rows that it fails come before the shape of its answers; without logged rows it was loaded, and that is all."""
    found = check_fallback_version_answers(SOURCE, BASE, answers, errors, [0.1, 0.9])
    assert (found.problem, found.rows) == (problem, len(answers) + len(errors))
    assert decode_event(*encode_event(found)) == found
    assert describe_event(found).startswith("fallback pyfunc models:/base/7 was asked")


def test_a_drill_of_an_earlier_release_is_read() -> None:
    """What 0.1.0 and its successors have journalled of constants and tables has no version."""
    found = decode_event("FallbackDrilled", {"kind": "table", "digest": "sha256:0", "rows": 5, "problem": ""})
    assert found == FallbackDrilled("table", "sha256:0", 5, "")
    assert isinstance(found, FallbackDrilled)
    assert found.fallback_version is None


def test_a_tick_names_the_fallback_again_when_something_has_changed() -> None:
    """A gateway that has forgotten or was down is told once; only a policy that can be read unloads the version."""
    env = Scenario()
    ports, told = with_drill(env, GOOD)
    adopt_champion(ports, "m")
    check_fallback(ports, "m")
    down = [True]

    def set_fallback(_model: str, fallback: FallbackVersion | None) -> None:
        if down[0]:
            raise Rejected("the gateway is down")
        told.append(fallback)

    ledger = ports.ledger("m")
    cached = CachedPorts(
        ports.journal, ports.registry, ports.traffic, ports.evidence_source, ports.clock, "controller",
        set_fallback=set_fallback, ledgers={"m": ledger},
    )  # fmt: skip
    snapshot: Any = SimpleNamespace(marks={"m": (None, "loaded")})
    policies = {"m": parse_policy({**POLICY, "fallback": {"pyfunc": "models:/base/7"}})}
    standbys, named = StandbySender(), FallbackVersion("base", BASE)
    told.clear()
    standbys.send_fallbacks(cached, snapshot, policies)
    assert told == []
    down[0] = False
    for state in ("loaded", "loaded", "started anew", "started anew"):
        snapshot.marks = {"m": (None, state)}
        standbys.send_fallbacks(cached, snapshot, policies)
    assert told == [named, named]
    standbys.send_fallbacks(cached, snapshot, {})
    assert told == [named, named]
    for _ in range(2):
        standbys.send_fallbacks(cached, snapshot, {"m": parse_policy(POLICY)})
    assert told == [named, named, None]


def test_the_journal_says_which_version_answers() -> None:
    """The beginning of its answers names the version that the control plane has named; that of a constant none."""
    env = Scenario()
    ports, _ = with_drill(env, GOOD)
    adopt_champion(ports, "m")
    check_fallback(ports, "m")
    champion = ports.ledger("m").champion
    assert champion is not None
    begin_fallback_period(ports, "m", champion, "pyfunc", "it is down")
    began, _ = ports.ledger("m").fallbacks[FailoverLevel.FALLBACK]
    assert began.source == SOURCE
    assert describe_event(began) == "callers get the policy's pyfunc models:/base/7: version 1 fails (it is down)"
    end_fallback_period(ports, "m", champion)
    begin_fallback_period(ports, "m", champion, "constant", "it is down")
    assert ports.ledger("m").fallbacks[FailoverLevel.FALLBACK][0].source is None
