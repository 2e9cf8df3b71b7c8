"""Rehearse a model's rollback in an isolated copy of production."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from surefoot.core.drills.drill_faults import DrillFault
from tasks.drill import rehearse_rollback


@flow(name="drill", flow_run_name="drill {model}")
def drill(model: str, faults: list[DrillFault] | None = None) -> State[Any]:
    """Roll a version back, once for each fault, in a staging twin with its own gateway; production is not touched.

    Args:
        model: Registered model, for example flights-late.
        faults: Faults to inject, one rollback each; those of the policy when left empty.
    """
    return rehearse_rollback(model, [str(fault) for fault in faults or []], return_state=True)
