"""Define the command `spread`, which measures the `expect:` values of a policy's gates as YAML."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated

import typer

from surefoot import wiring
from surefoot.adapters.config.policy_folder import read_model_policy
from surefoot.adapters.evidence.champion_history import measure_champion_history
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.adapters.replay.offline_replay import OfflineReplay
from surefoot.cli.printing.console import console, format_utc_time, print_json
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.core.domain import EvidenceKind, Version
from surefoot.core.errors import Rejected
from surefoot.core.journal.events import as_json
from surefoot.core.judging.evidence import MissingEvidence
from surefoot.core.judging.evidence_request import EvidenceRequest
from surefoot.core.planning.planning_inputs import ExpectValue, measure_expect_value
from surefoot.core.policy.policy_types import PairedGate, Policy
from surefoot.settings import read_settings

_DAY_S = 86400.0


def spread(
    model: ModelArgument,
    against: Annotated[str, typer.Option(help="Another version to compare with; alias previous without.")] = "",
    days: Annotated[float, typer.Option(help="How far back the requests reach.", min=0.01)] = 30.0,
    json_: JsonOption = False,
) -> None:
    """Measure what `lint` and `plan` count on, on logged requests, as lines to paste under `expect:`."""
    config = read_settings()
    _, policy = read_model_policy(config.configs, model)
    registry = wiring.make_registry(config, 5.0)
    number = registry.alias(model, "champion")
    if number is None:
        raise Rejected(f"{model} has no champion yet: set the alias 'champion' on the version that serves today")
    champion = registry.resolve(model, number)
    other = registry.resolve(model, against or registry.alias(model, "previous") or number)
    log = PredictionLog(config.log)
    replay = OfflineReplay(log, wiring.make_version_processes(config).start_scorer)
    until = wiring.make_clock(config).now()
    since = until - days * _DAY_S
    found = measure_gate_expectations(policy, (champion, other), log, replay, (since, until))
    if json_:
        print_json({"model": model, "since": since, "until": until, "gates": [as_json(one) for one in found]})
        return
    versions = f"version {number}" + (f" and version {other.number}" if other.digest != champion.digest else "")
    when = f"{format_utc_time(since)} to {format_utc_time(until)} UTC"
    console.print(f"# measured on the requests of {when}, with {versions}", markup=False)
    console.print("\n".join(format_expect_yaml_lines(found)), markup=False)


def measure_gate_expectations(
    policy: Policy,
    versions: tuple[Version, Version],
    log: PredictionLog,
    replay: OfflineReplay,
    window: tuple[float, float],
) -> list[ExpectValue]:
    """What each gate of a policy should expect.

    Args:
        policy: The policy.
        versions: The champion, and the version that it is compared with; twice the champion when there is no other.
        log: The prediction log.
        replay: Asks both versions about logged requests.
        window: Beginning and end of the requests [Unix seconds].
    """
    champion, other = versions
    since, until = window
    found: list[ExpectValue] = []
    for gate in policy.gates.values():
        if not isinstance(gate, PairedGate):
            found.append(measure_champion_history(log, policy.model, champion.number, gate, since, until))
            continue
        pairs = replay.paired_loss_evidence(
            EvidenceRequest(
                model=policy.model,
                gate=gate,
                kind=EvidenceKind.SHADOW,
                suite="",
                rollout="",
                champion=champion,
                candidate=other,
                since=since,
                until=until,
                opened=until,
            )
        )
        if isinstance(pairs, MissingEvidence):
            found.append(ExpectValue(gate.name, note=pairs.reason))
        else:
            found.append(measure_expect_value(gate, pairs, alone=other.digest == champion.digest))
    return found


def format_expect_yaml_lines(found: Sequence[ExpectValue]) -> list[str]:
    """YAML lines to paste; what could not be measured is a comment with its reason."""
    said = [
        f"  {one.gate}: {{ expect: {{ {one.key}: {format_yaml_number(one.value)} }} }} # {one.note}"
        if one.key
        else f"  # {one.gate}: {one.note}"
        for one in found
    ]
    return ["gates:", *said]


def format_yaml_number(value: float) -> str:
    """A number with three digits that count and no exponent, which YAML would take for a text."""
    return format(Decimal(f"{value:.3g}"), "f")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(spread)
