"""Record a signed approval or denial of a rollout that waits for people."""

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.approve import record_decision


@flow(name="approve", flow_run_name="approve {model}", retries=0)
def approve(model: str, signed: str) -> State[str]:
    """Record what a person has signed; the signature says who it was, and not who pressed the button.

    Args:
        model: Registered model, for example flights-late.
        signed: The statement and below it its SSH signature, as `surefoot approve MODEL --write FILE` and
            `ssh-keygen -Y sign -n approval@surefoot -f KEY FILE` make them.
    """
    return record_decision(model, signed)
