"""Open requested rollouts in a separate process as soon as a webhook arrives.

`reconcile` does the same a few seconds later, and whatever else is due; without a webhook it does it at its tick.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from functools import partial

from surefoot import wiring
from surefoot.core.errors import SurefootError
from surefoot.rollout import open_requested_rollout
from surefoot.settings import Settings, read_settings
from surefoot.telemetry.json_log import write_log_lines

_ACTOR = "webhook"
_BUILD_WAIT_S = 1.0
"""How long it waits for the environment of a version [s]: the run of the rollout waits for what is not built yet."""

_log = logging.getLogger(__name__)


class CandidateOpener:
    """Starts the process, which is forked with all imports; one at a time."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, models: Collection[str]) -> None:
        """Have the rollouts of these models opened, unless the process of an earlier call still works."""
        if self._process is not None and self._process.poll() is None:
            return
        program = ["surefoot.controller.forked_run", "surefoot.controller.candidate_opener", *sorted(models)]
        quiet = subprocess.DEVNULL
        try:
            self._process = subprocess.Popen([sys.executable, "-m", *program], stdin=quiet, stderr=quiet)  # noqa: S603 - ours
        except OSError as error:
            _log.warning("no process can be started (%s): reconcile opens what is asked for", error)


def open_candidates(config: Settings, models: Sequence[str]) -> list[str]:
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
                facts = wiring.policy_facts(config, model, policy)
                wish = partial(wiring.candidate_promotion, config, model)
                found = open_requested_rollout(ports, model, ports.registry.view(model), wish, facts)
            except SurefootError as error:  # `reconcile` tries again
                said.append(f"{model}: {error}")
                continue
            said += [f"{model}: {line}" for line in found.lines]
            said += [f"{model}: version {found.number} is opened"] if found.number else []
    return said


def main() -> None:
    """Open what is asked for of the models that the command line names."""
    # On stdout: what libraries write to stderr when a process ends is not kept.
    config = read_settings()
    write_log_lines(config.log_format, sys.stdout, force=True)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for line in open_candidates(config, sys.argv[1:]):
        _log.info("%s", line)


if __name__ == "__main__":
    main()
