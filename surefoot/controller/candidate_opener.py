"""Open rollouts of requested candidates, and react to a moved champion alias, after a webhook.

That is done in a process of its own. `reconcile` does the same a few seconds later, and whatever else is due; without
a webhook it does so at its tick.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from functools import partial

from surefoot import wiring
from surefoot.core.errors import SurefootError
from surefoot.rollout import (
    DriftRule,
    NextStep,
    Ports,
    finish_decided_ending,
    journal_model_drift,
    next_step,
    open_requested_rollout,
    read_drift_reaction,
)
from surefoot.settings import Settings, read_settings
from surefoot.telemetry.json_log import write_log_lines

_ACTOR = "webhook"
_BUILD_WAIT_S = 1.0
"""How long it waits for the environment of a version [s]: the run of the rollout waits for what is not built yet."""

_MOST_PROCESSES = 3
"""Processes at the same time [count]: opening hashes a version, which may take minutes."""
_log = logging.getLogger(__name__)


class CandidateOpener:
    """Starts processes that are forked with all imports, a few at a time; no two of them open the same model."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._running: list[tuple[frozenset[str], subprocess.Popen[bytes]]] = []

    def start(self, models: Collection[str]) -> None:
        """Have the rollouts of these models opened, but for those that the process of an earlier call still opens."""
        self._running = [one for one in self._running if one[1].poll() is None]
        free = frozenset(models).difference(*(busy for busy, _ in self._running))
        if not free or len(self._running) >= _MOST_PROCESSES:  # the next tick opens them
            return
        program = ["surefoot.controller.forked_run", "surefoot.controller.candidate_opener", *sorted(free)]
        quiet = subprocess.DEVNULL
        try:
            process = subprocess.Popen([sys.executable, "-m", *program], stdin=quiet, stderr=quiet)  # noqa: S603 - ours
        except OSError as error:
            _log.warning("no process can be started (%s): reconcile opens what is asked for", error)
            return
        self._running.append((free, process))


def open_candidate_rollouts(config: Settings, models: Sequence[str]) -> list[str]:
    """Open what the registry asks for, as `reconcile` does; what was opened, or kept it from that.

    Args:
        config: Where everything is.
        models: Registered models.
    """
    policies, said = wiring.read_policies(config), list[str]()
    with wiring.open_ports(config, _ACTOR, build_wait_s=_BUILD_WAIT_S) as ports:
        for model in models:
            if (policy := policies.get(model)) is None:
                continue
            try:
                facts = wiring.hash_policy_files(config, model, policy)
                wish = partial(wiring.build_candidate_promotion_request, config, model)
                found = open_requested_rollout(ports, model, ports.registry.view(model), wish, facts)
            except SurefootError as error:  # `reconcile` tries again
                said.append(f"{model}: {error}")
                continue
            said += [f"{model}: {line}" for line in found.lines]
            said += [f"{model}: version {found.number} is opened"] if found.number else []
            said += _answer_drift(ports, model, DriftRule(read_drift_reaction(policy), wish))
    return said


def _answer_drift(ports: Ports, model: str, rule: DriftRule) -> list[str]:
    """React to a moved alias `champion`, and finish the rollback that it asks for; one line for each difference."""
    said = journal_model_drift(ports, model, rule)
    if next_step(ports.ledger(model), driven=False) is NextStep.FINISH:
        try:
            finish_decided_ending(ports, model)
        except SurefootError as error:  # `reconcile` tries again
            said.append(f"{model}: {error}")
    return said


def main() -> None:
    """Open what is asked for of the models that the command line names."""
    # On stdout: what libraries write to stderr when a process ends is not kept.
    config = read_settings()
    write_log_lines(config.log_format, sys.stdout, force=True)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for line in open_candidate_rollouts(config, sys.argv[1:]):
        _log.info("%s", line)


if __name__ == "__main__":
    main()
