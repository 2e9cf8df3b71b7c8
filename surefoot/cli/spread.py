"""spread: what plans count on, measured on the champion's logged requests."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated

import typer

from surefoot import bootstrap
from surefoot.adapters.config import read
from surefoot.adapters.past import of_log
from surefoot.adapters.predictions import PredictionLog
from surefoot.adapters.replay import Replay
from surefoot.cli.read import Json, Model
from surefoot.cli.show import clock_time, console, emit
from surefoot.core.errors import Rejected
from surefoot.core.events import as_json
from surefoot.core.evidence import Missing
from surefoot.core.model import Version
from surefoot.core.planning.measured import Measured, of_pairs
from surefoot.core.policy import PAIRED, Policy
from surefoot.core.question import Question

DAY = 86400.0


def spread(
    model: Model,
    against: Annotated[str, typer.Option(help="Another version to compare with; alias previous without.")] = "",
    days: Annotated[float, typer.Option(help="How far back the requests reach.", min=0.01)] = 30.0,
    json_: Json = False,
) -> None:
    """Measure what `lint` and `plan` count on, on logged requests, as lines to paste under `expect:`."""
    config = bootstrap.settings()
    _, policy = read(config.configs / f"{model}.yaml")
    registry = bootstrap.registry(config, 5.0)
    number = registry.alias(model, "champion")
    if number is None:
        raise Rejected(f"{model} has no champion yet: set the alias 'champion' on the version that serves today")
    champion = registry.resolve(model, number)
    other = registry.resolve(model, against or registry.alias(model, "previous") or number)
    log = PredictionLog(config.log)
    replay = Replay(log, bootstrap.hosted(config).scores)
    until = bootstrap.clock(config).now()
    since = until - days * DAY
    found = measured(policy, (champion, other), log, replay, (since, until))
    if json_:
        emit({"model": model, "since": since, "until": until, "gates": [as_json(one) for one in found]})
        return
    versions = f"version {number}" + (f" and version {other.number}" if other.digest != champion.digest else "")
    when = f"{clock_time(since)} to {clock_time(until)} UTC"
    console.print(f"# measured on the requests of {when}, with {versions}", markup=False)
    console.print("\n".join(lines(found)), markup=False)


def measured(
    policy: Policy,
    versions: tuple[Version, Version],
    log: PredictionLog,
    replay: Replay,
    window: tuple[float, float],
) -> list[Measured]:
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
    found: list[Measured] = []
    for gate in policy.gates.values():
        if gate.metric not in PAIRED:
            found.append(of_log(log, policy.model, champion.number, gate, since, until))
            continue
        pairs = replay.paired(Question(policy.model, gate, "shadow", "", "", champion, other, since, until, until))
        if isinstance(pairs, Missing):
            found.append(Measured(gate.name, note=pairs.reason))
        else:
            found.append(of_pairs(gate, pairs, alone=other.digest == champion.digest))
    return found


def lines(found: Sequence[Measured]) -> list[str]:
    """YAML lines to paste; what could not be measured is a comment with its reason."""
    said = [
        f"  {one.gate}: {{ expect: {{ {one.key}: {plain(one.value)} }} }} # {one.note}"
        if one.key
        else f"  # {one.gate}: {one.note}"
        for one in found
    ]
    return ["gates:", *said]


def plain(value: float) -> str:
    """A number with three digits that count and no exponent, which YAML would take for a text."""
    return format(Decimal(f"{value:.3g}"), "f")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(spread)
