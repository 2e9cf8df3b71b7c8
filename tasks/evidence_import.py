"""Define the Prefect task that imports evidence from external sources."""

import time

from prefect import task
from prefect.logging import get_run_logger

from surefoot import wiring
from surefoot.core.errors import SurefootError
from surefoot.settings import read_settings


@task(name="import evidence")
def import_all_evidence() -> list[str]:
    """Import what the sources of every model with `evidence:` in its policy hold, where no gate has done so lately.

    Returns:
        What was imported, and what is wrong with a source, one line a model.
    """
    config, done = read_settings(), []
    for model, policy in wiring.read_policies(config).items():
        if policy.evidence_origin is None or not wiring.is_import_due(config, model, time.time()):
            continue
        try:
            said = wiring.import_evidence(config, model, policy.evidence_origin)
        except SurefootError as error:
            said = str(error)
        if said:
            done.append(f"{model}: {said}")
            get_run_logger().info("%s: %s", model, said)
    return done
