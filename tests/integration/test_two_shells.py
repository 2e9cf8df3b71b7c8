"""`surefoot rollback` is typed in two shells at the same time: one rollback, and two exit codes that tell the truth."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import pytest
from mlflow import MlflowClient

from surefoot import wiring
from surefoot.core.domain import Outcome, RolloutKind, Split, Stage
from surefoot.core.journal.events import (
    EffectDone,
    EffectIntended,
    Paused,
    RolloutEnded,
    RolloutOpened,
    SetAlias,
    SetSplit,
)
from surefoot.core.journal.events import StageEntered as Entered
from surefoot.core.journal.ledger import Ledger
from surefoot.rollout.advance_rollout import journal_and_apply_effect
from tests.fakes import MIRRORED, POLICY
from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_harness import BETTER, GOOD

DONE, REFUSED, LEFT = 0, 2, 4


class Shells:
    """A stack with a real registry, in which two people type the same command."""

    def __init__(self, emergency: Emergency, mlflow: str) -> None:
        self.emergency, self.client = emergency, MlflowClient(mlflow, mlflow)
        emergency.config = replace(emergency.config, mlflow=mlflow)
        emergency.config.save()
        emergency.ports = replace(emergency.ports, registry=wiring.make_registry(emergency.config))
        self.client.create_registered_model(MODEL)
        run = self.client.create_run("0").info
        for _ in (GOOD, BETTER):
            self.client.create_model_version(MODEL, f"{run.artifact_uri}/model", run.run_id)
        self.client.set_registered_model_alias(MODEL, "champion", GOOD)

    def append(self, *events: object) -> None:
        """Journal events."""
        for event in events:
            self.emergency.append(event)  # type: ignore[arg-type]

    def apply(self, *effects: SetAlias | SetSplit) -> None:
        """Journal effects, and carry them out."""
        for effect in effects:
            journal_and_apply_effect(self.emergency.ports, self.ledger, effect)

    def open(self, policy: Mapping[str, object] = POLICY) -> None:
        """Open the promotion of the better version."""
        made = self.emergency
        policy = {**policy, "model": MODEL}
        self.append(
            RolloutOpened("r", RolloutKind.PROMOTION, made.candidate, made.champion, policy, "", "", "s", 1, "test")
        )

    @property
    def ledger(self) -> Ledger:
        """What the journal says."""
        return self.emergency.ports.ledger(MODEL)

    @property
    def alias(self) -> str:
        """Version that alias champion points to."""
        return str(self.client.get_registered_model(MODEL).aliases["champion"])

    def roll_back(self) -> list[tuple[int, str]]:
        """Type the command in two shells; exit code and output of each."""
        started = [self.emergency.start("rollback", MODEL, "--reason", f"shell {name}") for name in "AB"]
        said = ["".join(command.communicate(timeout=120.0)) for command in started]
        return [(command.returncode or 0, text) for command, text in zip(started, said, strict=True)]


@pytest.fixture
def shells(emergency: Emergency, mlflow_server: str) -> Iterator[Shells]:
    """Two shells; the registered model is gone afterwards."""
    made = Shells(emergency, mlflow_server)
    yield made
    made.client.delete_registered_model(MODEL)


def _in_shadow(shells: Shells) -> None:
    shells.open()
    shells.append(Entered("r", Stage.SHADOWING, 0, "test"))


def _in_live_shadow(shells: Shells) -> None:
    """A fifth of the requests is mirrored to the better version, which answers no caller."""
    shells.open(MIRRORED)
    shells.append(Entered("r", Stage.LIVE_SHADOWING, 1, "test"))
    shells.apply(SetSplit(shells.emergency.champion, shells.emergency.candidate, 0.0, 20.0))
    assert shells.emergency.live().mirror == 20.0


def _in_step_0(shells: Shells) -> None:
    shells.open()
    shells.append(Entered("r", Stage.RAMPING, 0, "test"))
    shells.apply(SetSplit(shells.emergency.champion, shells.emergency.candidate, 5.0))


def _held(shells: Shells) -> None:
    _in_step_0(shells)
    shells.append(Paused("r", Outcome.INCONCLUSIVE, "errors", "a person is asked"))


def _in_promotion(shells: Shells) -> None:
    """Alias champion has moved, and the run was killed while it moved the traffic."""
    _in_step_0(shells)
    shells.append(Entered("r", Stage.PROMOTING, 0, "test"))
    shells.apply(SetAlias("previous", GOOD, None), SetAlias("champion", BETTER, GOOD))
    shells.append(EffectIntended("r", SetSplit(shells.emergency.candidate, None, 0.0)))


def _without_proven_good(_shells: Shells) -> None:
    """There is one version, and it has always been the champion."""


def _target_deleted(shells: Shells) -> None:
    """The better version was promoted; the one before it was deleted from the registry."""
    _in_promotion(shells)
    shells.append(*_ended(shells))
    shells.client.delete_model_version(MODEL, GOOD)


def _ended(shells: Shells) -> Iterator[object]:
    shells.emergency.gateway.traffic.shift(
        MODEL, Split(shells.emergency.candidate, None, 0.0, "s", "r", shells.ledger.head)
    )
    yield EffectDone("r", shells.ledger.head, False, 1.0)
    yield RolloutEnded("r", Stage.PROMOTED, "baked")


CASES: dict[str, tuple[Callable[[Shells], None], Stage | None, int]] = {
    "shadow": (_in_shadow, Stage.ABORTED, DONE),
    "live shadow": (_in_live_shadow, Stage.ABORTED, DONE),
    "step 0": (_in_step_0, Stage.ROLLED_BACK, DONE),
    "held": (_held, Stage.ROLLED_BACK, DONE),
    "promotion": (_in_promotion, Stage.ROLLED_BACK, DONE),
    "no proven-good version": (_without_proven_good, None, REFUSED),
    "target deleted": (_target_deleted, Stage.FAST_ROLLED_BACK, LEFT),
}
"""What two people find, how their rollback ends, and the exit code of the one whose command has brought it there."""


def _told(code: int, end: Stage | None) -> str:
    """What a command says that ends with a code."""
    if end is None:
        return "flights has no other proven-good version to go back to (proven-good: 1)"
    if code == REFUSED:  # the other shell was faster
        return f"traffic is back at version {GOOD} already ({end}: shell "
    return f"ended as {end}: shell " if code == DONE else "traffic is back, but alias champion should be 1"


@pytest.mark.parametrize("case", CASES)
def test_a_rollback_typed_twice_is_one(shells: Shells, case: str) -> None:
    """Each shell is told by name what has become of it, its exit code is true, and nothing is done twice."""
    prepare, end, wanted = CASES[case]
    prepare(shells)
    before = shells.ledger.head
    told = shells.roll_back()
    codes = [code for code, _ in told]
    assert wanted in codes, told
    assert set(codes) <= {wanted, DONE if wanted == DONE else LEFT, REFUSED}, told
    for code, said in told:
        assert _told(code, end) in said, told
        assert "Traceback" not in said
    live, ledger = shells.emergency.live(), shells.ledger
    assert (live.champion.number, live.candidate, live.weight, live.mirror) == (GOOD, None, 0.0, 0.0)
    assert not ledger.open
    assert shells.alias == (BETTER if case == "target deleted" else GOOD)
    assert [drift.alias for drift in ledger.drifts.values()] == (["champion"] if case == "target deleted" else [])
    entries = [entry for entry in shells.emergency.journal.read(MODEL) if entry.seq > before]
    kinds = [entry.kind for entry in entries]
    if end is None:
        assert kinds == []
        return
    assert tuple(ledger.rollouts.values())[-1].stage is end
    assert kinds.count("RolloutEnded") == kinds.count("RolloutOpened") + kinds.count("EndDecided") == 1
    effects = [str(entry.data["effect"]) for entry in entries if entry.kind == "EffectIntended"]
    assert len(effects) == len(set(effects))
