"""Make the world and the journal meet: registry changes, interrupted rollouts, dead runs, drift; then tidy the log."""

from prefect import flow

from tasks.reconcile import adopt, compact, compare, reap, resume, start, wanted


@flow(name="reconcile")
def reconcile() -> dict[str, list[str]]:
    """Run every minute; each part finds what it needs by itself and is safe to repeat."""
    reaped = reap()
    adopt()
    resumed = resume()
    started = start(wanted())
    return {"reaped": reaped, "resumed": resumed, "started": started, "drift": compare(), "compacted": compact()}
