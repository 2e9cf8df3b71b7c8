"""An alias that another hand moves or removes at any instant of a promotion: a named end, and never without a word."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial

import pytest

from surefoot.core.actions import NoRollout
from surefoot.core.domain import RolloutKind
from surefoot.core.errors import Conflict, Rejected
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.registry_drift.drift_events import UNKNOWN_REGISTRY_ACTOR, DriftReaction
from surefoot.rollout import (
    DriftRule,
    NextStep,
    Ports,
    adopt_champion,
    advance_rollout,
    end_withdrawn_rollout,
    finish_decided_ending,
    journal_model_drift,
    next_step,
    open_due_incidents,
    open_promotion,
    open_requested_rollout,
)
from tests.fakes import Faults, Scenario
from tests.scripted import events, scenario
from tests.sweeps import EVERYTHING

INSTANTS = 42
"""How many instants of the promotion are tried, evenly spread over all of its calls; `make fault` tries each one."""
ENDS = {"Promoted", "RolledBack", "FastRolledBack", "Aborted", "Withdrawn", "Superseded", "Rejected"}
MOVES: dict[str, tuple[str, str | None]] = {
    "champion to another version": ("champion", "3"),
    "champion to the candidate": ("champion", "2"),
    "champion removed": ("champion", None),
    "candidate to another version": ("candidate", "3"),
    "candidate removed": ("candidate", None),
}
REACTIONS = (DriftReaction.ALERT, DriftReaction.REVERT, DriftReaction.ADOPT)
PERSON, DRIVER, TICK = "alias candidate", "flow:promote", "flow:reconcile"


@dataclass
class Hand(Faults):
    """Another program that moves an alias once, right before a numbered call."""

    aliases: dict[str, str] = field(default_factory=dict)
    move: tuple[str, str | None] = ("champion", None)
    at_call: int = 0
    struck: bool = False
    changed: bool = False

    def call(self, apply: Callable[[], object]) -> object:  # type: ignore[override]
        """Move the alias where its instant has come, then run the call."""
        if self.calls + 1 == self.at_call:
            alias, number = self.move
            self.struck, self.changed = True, self.aliases.get(alias) != number
            if number is None:
                self.aliases.pop(alias, None)
            else:
                self.aliases[alias] = number
        return super().call(apply)


@dataclass(frozen=True, slots=True)
class FoldedPorts(Ports):
    """Ports that fold only the entries that are new."""

    known: dict[str, Ledger] = field(default_factory=dict)

    def ledger(self, model: str) -> Ledger:
        """The model's state now."""
        known = self.known.get(model) or Ledger(model)
        self.known[model] = fold_entries(model, self.journal.read(model, after=known.head), known)
        return self.known[model]


@dataclass
class Run:
    """A promotion with `reconcile` between its steps, and one move of an alias.

    Attributes:
        env: The outside world.
        hand: What moves the alias.
        on_drift: What the policy says.
        writes: Calls in which the alias of the move was written by Surefoot.
        refused: Why the promotion was not opened; empty where it was.
    """

    env: Scenario
    hand: Hand
    on_drift: DriftReaction
    writes: list[int] = field(default_factory=list)
    refused: str = ""
    known: dict[str, Ledger] = field(default_factory=dict)

    def ports(self, actor: str) -> Ports:
        """The outside world, in the name of an actor."""
        plain = self.env.ports(actor)
        return FoldedPorts(**{one.name: getattr(plain, one.name) for one in fields(Ports)}, known=self.known)

    def tick(self) -> None:
        """What `reconcile` does about the registry; what another process has overtaken is for the next tick."""
        ports = self.ports(TICK)
        try:
            view = ports.registry.view("m")
            end_withdrawn_rollout(ports, "m", view)
            wanted = partial(self._request, source="alias")
            open_requested_rollout(ports, "m", view, lambda wish: wanted(wish.number), {"suite": 1})
            if next_step(ports.ledger("m"), driven=False) is NextStep.FINISH:
                finish_decided_ending(ports, "m")
        except Conflict:
            return
        journal_model_drift(ports, "m", DriftRule(self.on_drift, lambda wish: self._request(wish.number)))
        open_due_incidents(ports, "m")

    def _request(self, number: str, source: str = "hand"):  # type: ignore[no-untyped-def] # noqa: ANN202
        return self.env.request(number, source=source)

    def play(self) -> Ledger:
        """Open the promotion, and step and tick until nothing changes any more."""
        try:
            open_promotion(self.ports(PERSON), self._request("2", "alias"))
        except Rejected as error:
            self.refused = str(error)
        struck, ledger = False, self._advance()
        while struck != self.hand.struck or ledger.open:
            struck, ledger = self.hand.struck, self._advance()
        return ledger

    def _advance(self) -> Ledger:
        """Step and tick until nothing changes any more."""
        env, head = self.env, -1
        while head != len(env.journal.entries):
            head = len(env.journal.entries)
            self.tick()
            ports = self.ports(DRIVER)
            for _ in range(3):
                try:
                    action, ledger = advance_rollout(ports, ports.ledger("m"))
                except Conflict:
                    continue
                if isinstance(action, NoRollout):
                    break
                if head == len(env.journal.entries) == ledger.head:
                    env.clock.sleep(1.0)
        return self.ports(TICK).ledger("m")


def run(move: tuple[str, str | None], on_drift: DriftReaction, at_call: int) -> Run:
    """One whole run; the champion is served before it begins."""
    env = scenario()
    adopt_champion(env.ports("setup"), "m")
    hand = Hand(aliases=env.registry.aliases, move=move, at_call=at_call)
    for port in (env.journal, env.registry, env.traffic):
        port.faults = hand
    made, write = Run(env, hand, on_drift), env.registry.set_alias

    def set_alias(model: str, alias: str, number: str | None) -> None:
        if alias == move[0]:
            made.writes.append(hand.calls + 1)
        write(model, alias, number)

    env.registry.set_alias = set_alias  # type: ignore[method-assign]
    made.play()
    return made


@pytest.mark.parametrize("move", MOVES)
def test_a_move_at_any_instant_has_a_named_end_and_is_told(move: str) -> None:
    """Whenever another hand moves an alias, each rollout ends by name, traffic is whole, and the journal tells it."""
    moved = MOVES[move]
    calls = run(moved, DriftReaction.ALERT, 0).hand.calls
    instants = range(1, calls + 1) if EVERYTHING else range(1, calls + 1, max(calls // INSTANTS, 1))
    assert len(instants) >= 40
    for place, number in enumerate(instants):
        for on_drift in REACTIONS if EVERYTHING else [REACTIONS[place % len(REACTIONS)]]:
            made = run(moved, on_drift, number)
            assert made.hand.struck
            check(made, moved, (move, on_drift.value, number))


def check(made: Run, move: tuple[str, str | None], case: tuple[str, str, int]) -> None:
    """What must hold after any run."""
    env, ledger = made.env, made.env.ports().ledger("m")
    live, champion = env.traffic.split, ledger.champion
    assert champion is not None, case
    assert live is not None, case
    assert (live.champion, live.candidate) == (champion, None), case
    assert not ledger.open, case
    assert all(str(one["sink"]) in ENDS for one in events(env, "RolloutEnded")), case
    assert len(events(env, "RolloutEnded")) == len(events(env, "RolloutOpened")), case
    assert {entry.actor for entry in env.journal.entries} <= {"setup", PERSON, DRIVER, TICK, UNKNOWN_REGISTRY_ACTOR}
    if move[0] == "champion":
        told_of_champion(made, ledger, move[1], case)
    else:
        told_of_candidate(made, ledger, case)
    named = [str(one["reason"]) for one in events(env, "IncidentOpened") if "alias" in str(one["trigger"])]
    assert all("MLflow does not record who has moved it" in reason for reason in named if "points to" in reason), case


def told_of_champion(made: Run, ledger: Ledger, to: str | None, case: tuple[str, str, int]) -> None:
    """Alias champion is what is served, or is an open difference; and an entry names the move."""
    env = made.env
    agrees = env.registry.aliases.get("champion") == getattr(ledger.champion, "number", None)
    drift = ledger.drifts.get("alias champion")
    assert agrees == (drift is None), case
    if made.on_drift is not DriftReaction.ALERT:
        assert agrees, case
    told = bool(events(env, "DriftFound")) or bool(made.refused) or bool(events(env, "CandidateRefused"))
    overwritten = made.hand.at_call in made.writes  # MLflow has no compare-and-swap, and keeps no trace of that
    # Alias champion was to be set on that version, and the entry says that it was found already so.
    found = to == "2" and any(one["reconciled"] for one in events(env, "EffectDone"))
    assert told or overwritten or found or not made.hand.changed, case
    if events(env, "DriftFound"):
        rollback = [one for one in events(env, "RolloutOpened") if one["kind"] == RolloutKind.ROLLBACK]
        assert events(env, "IncidentOpened") or rollback, case


def told_of_candidate(made: Run, ledger: Ledger, case: tuple[str, str, int]) -> None:
    """What asks for a version is followed: withdrawn, replaced, or done already; alias champion is untouched."""
    env, to = made.env, made.hand.aliases.get("candidate")
    assert not ledger.drifts, case
    assert env.registry.aliases["champion"] == getattr(ledger.champion, "number", None), case
    opened = {str(one["candidate"]["number"]) for one in events(env, "RolloutOpened")}  # type: ignore[index]
    assert to is None or to in opened, case
    withdrawn = any(one["sink"] == "Withdrawn" for one in events(env, "RolloutEnded"))
    promoted = any(one["sink"] == "Promoted" for one in events(env, "RolloutEnded"))
    assert withdrawn or promoted, case
