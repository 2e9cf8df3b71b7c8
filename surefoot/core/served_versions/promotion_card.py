"""Describe a promotion for a model card and a changelog."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from surefoot.core.approvals.approval_events import ApprovalGiven
from surefoot.core.domain import Outcome, RolloutKind, Stage, Verdict
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import (
    EffectDone,
    EffectIntended,
    Event,
    GateJudged,
    RolloutEnded,
    RolloutOpened,
    SetSplit,
    StageEntered,
    decode_event,
)
from surefoot.core.verdicts.quantities import describe_accepted, describe_measured

_ASKED = {Stage.BAKING, Stage.PROMOTED}


@dataclass(frozen=True, slots=True)
class PromotionCard:
    """A promotion that gave a version all requests.

    Attributes:
        opened: What was promoted over what, and why.
        promoted_at: When it had all requests [Unix seconds].
        verdicts: The last verdict of each gate up to then, by gate.
        shares: Shares of the traffic that it had on the way, in order [percent].
        approvals: Who approved, in order.
        baked: The last verdict of each gate of the bake, by gate; none while it bakes, since each look has another.
        ended: How the rollout ended; None while it bakes.
        taken_back: Why the version was taken back later; empty while it was not.
    """

    opened: RolloutOpened
    promoted_at: float
    verdicts: tuple[Verdict, ...]
    shares: tuple[float, ...]
    approvals: tuple[str, ...]
    baked: tuple[Verdict, ...] = ()
    ended: Stage | None = None
    taken_back: str = ""


@dataclass
class _Promotion:
    """What is known of a promotion while its entries are read."""

    opened: RolloutOpened
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    baked: dict[str, Verdict] = field(default_factory=dict)
    shares: list[float] = field(default_factory=list)
    approvals: list[str] = field(default_factory=list)


def promotion_cards(entries: Iterable[Entry]) -> tuple[PromotionCard, ...]:
    """Every promotion after which a version had all requests, oldest first.

    Args:
        entries: The journal of a model, or its part from the opening of a rollout on.
    """
    found: dict[str, PromotionCard] = {}
    known: dict[str, _Promotion] = {}
    splits: dict[int, EffectIntended] = {}
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, RolloutOpened):
            if event.kind == RolloutKind.PROMOTION:
                known[event.rollout] = _Promotion(event)
            else:
                _take_back(found, event)
        elif isinstance(event, EffectIntended):
            splits[entry.seq] = event
        elif isinstance(event, EffectDone) and event.intent in splits:
            _share(known, splits[event.intent])
        else:
            _gather(known, found, event, entry.at)
    return tuple(found.values())


def _share(known: dict[str, _Promotion], done: EffectIntended) -> None:
    """Note a share of the traffic that is in force."""
    promotion, effect = known.get(done.rollout), done.effect
    if promotion is None or not isinstance(effect, SetSplit) or effect.candidate is None or not effect.weight:
        return
    if effect.candidate.digest == promotion.opened.candidate.digest and effect.weight not in promotion.shares:
        promotion.shares.append(effect.weight)


def _gather(known: dict[str, _Promotion], found: dict[str, PromotionCard], event: Event, at: float) -> None:
    """Note what an entry says of a promotion."""
    rollout = getattr(event, "rollout", "")
    promotion = known.get(rollout)
    if promotion is None:
        return
    if isinstance(event, GateJudged):
        judged = promotion.baked if rollout in found else promotion.verdicts
        judged[event.verdict.gate] = event.verdict
    elif isinstance(event, ApprovalGiven):
        promotion.approvals.append(event.signed.person)
    elif isinstance(event, StageEntered) and event.stage in _ASKED and rollout not in found:
        found[rollout] = PromotionCard(
            promotion.opened,
            at,
            tuple(promotion.verdicts.values()),
            tuple(promotion.shares),
            tuple(dict.fromkeys(promotion.approvals)),
        )
    elif isinstance(event, RolloutEnded) and rollout in found:
        good = event.terminal_stage in {Stage.PROMOTED, Stage.FAST_PROMOTED}
        why = "" if good else f"{event.terminal_stage}: {event.reason}"
        baked = tuple(promotion.baked.values())
        found[rollout] = replace(found[rollout], ended=event.terminal_stage, taken_back=why, baked=baked)


def _take_back(found: dict[str, PromotionCard], rollback: RolloutOpened) -> None:
    """Note on the last promotion of a version that a rollback takes it back."""
    for rollout, card in reversed(found.items()):
        if card.opened.candidate.digest == rollback.champion.digest and not card.taken_back:
            found[rollout] = replace(card, taken_back=rollback.reason)
            return


def card_markdown(card: PromotionCard, model: str) -> str:
    """The section of a model card that a promotion adds, as Markdown.

    Args:
        card: The promotion.
        model: Registered model.
    """
    opened = card.opened
    lines = [
        f"### Promotion of version {opened.candidate.number}",
        "",
        (
            f"Version {opened.candidate.number} of `{model}` replaced version {opened.champion.number} on"
            f" {_day(card.promoted_at)} ({opened.reason}). Rollout `{opened.rollout}`."
        ),
        "",
        "| gate | verdict | measured | accepted | observations |",
        "|---|---|---|---|---|",
        *(_gate_line(verdict) for verdict in card.verdicts),
        *(_gate_line(verdict, ", in the bake") for verdict in card.baked),
        "",
        f"- Traffic: {describe_traffic_shares(card)}",
    ]
    if card.approvals:
        lines.append(f"- Approved by: {', '.join(card.approvals)}")
    if opened.authors:
        lines.append(f"- Made by: {', '.join(opened.authors)}")
    if opened.ticket:
        lines.append(f"- Change ticket: {opened.ticket}")
    lines += [f"- {kind.capitalize()}: {what}" for kind, what in opened.provenance.items()]
    lines.append(f"- Artifact: `{opened.candidate.digest}`")
    lines.append(f"- Way back: version {opened.champion.number}, which answered before")
    if card.taken_back:
        lines.append(f"- **Taken back: {card.taken_back}**")
    elif card.ended is None:
        lines.append("- Still watched after the promotion (bake)")
    return "\n".join(lines)


def changelog_line(card: PromotionCard) -> str:
    """The entry of a changelog for a promotion: what replaced what, with the numbers of the gates that compare."""
    opened = card.opened
    told = [f"{one.gate} {measured}" for one in card.verdicts if (measured := describe_measured(one))]
    numbers = f": {', '.join(told)}" if told else ""
    back = f"; taken back: {card.taken_back}" if card.taken_back else ""
    return (
        f"- {_day(card.promoted_at)}: version {opened.candidate.number} replaces version"
        f" {opened.champion.number}{numbers}{back}"
    )


def _day(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _gate_line(verdict: Verdict, when: str = "") -> str:
    accepted = describe_accepted(verdict).replace("|", "/")
    measured = (describe_measured(verdict) or verdict.reason).replace("|", "/")
    outcome = verdict.outcome if verdict.outcome is Outcome.PASS else f"**{verdict.outcome}**"
    return f"| {verdict.gate} ({verdict.metric}{when}) | {outcome} | {measured} | {accepted} | {verdict.n:,} |"


def describe_traffic_shares(card: PromotionCard) -> str:
    """The shares on the way up, in words."""
    steps = ", ".join(f"{share:g} %" for share in card.shares)
    return f"{steps} of the units, then all" if steps else "all at once, after the shadow"
