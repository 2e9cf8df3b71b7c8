"""`surefoot forget` on a running stack: no file of it, and no database of MLflow and Prefect, has the unit any more."""

import httpx

from tests.e2e.stack_scenario import Scenario
from tests.integration.log_writing import record, write
from tests.integration.test_forget import FEATURE, MARKERS, REQUEST, UNIT, holds

MODEL = "forgotten"
PAGE = f"<p>row 7 of {UNIT}: {FEATURE}; request {REQUEST}-7</p>"


def found(stack: Scenario, *markers: str) -> list[str]:
    """Files of the whole state folder that have one of these texts: logs, tables, pages and databases."""
    home = stack.settings.home
    return sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file() and holds(p, markers))


def log_requests(stack: Scenario) -> None:
    """Log requests of the unit and of others."""
    now = stack.clock.now()
    own = record(7, now, unit=UNIT, request=f"{REQUEST}-7", features={"person": UNIT, "note": FEATURE})
    write(stack.settings.log, [own, record(8, now, unit="another", features={"person": "another"})], model=MODEL)


def show_in_mlflow(stack: Scenario) -> str:
    """Give the model a run with a page that quotes the unit, as that of a validation does; its address."""
    experiment = stack.mlflow("POST", "experiments/create", name=f"surefoot/{MODEL}")["experiment_id"]
    run = stack.mlflow("POST", "runs/create", experiment_id=experiment, start_time=0)["run"]["info"]["run_id"]
    folder = f"{stack.settings.mlflow}/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts"
    address = f"{folder}/validation/report.html"
    httpx.put(address, content=PAGE.encode(), trust_env=False).raise_for_status()
    return address


def show_in_prefect(stack: Scenario) -> str:
    """Give a run of one of our flows an artifact that quotes the unit; its id."""
    flow = stack.prefect("GET", f"/deployments/{stack.deployment('watch')}")["flow_id"]
    run = stack.prefect("POST", "/flow_runs/", {"flow_id": flow, "name": MODEL})["id"]
    body = {"flow_run_id": run, "key": MODEL, "type": "markdown", "data": PAGE, "description": f"of {UNIT}"}
    return str(stack.prefect("POST", "/artifacts/", body)["id"])


def test_no_place_of_a_stack_has_the_unit(stack: Scenario) -> None:
    """After it files, MLflow and Prefect have none of the markers, pages are there still, and `verify` is green."""
    log_requests(stack)
    address, artifact = show_in_mlflow(stack), show_in_prefect(stack)
    page = stack.settings.home / "reports" / f"{MODEL}.html"
    page.parent.mkdir(exist_ok=True)
    page.write_text(PAGE, encoding="utf-8")
    before = found(stack, *MARKERS)
    assert {name.split("/")[0] for name in before} >= {"gateway", "mlflow", "prefect", "reports"}
    said = stack.run("forget", MODEL, "--unit", UNIT, "-m", "asked for on 3 May")
    assert said.returncode == 0, said
    assert "pages in MLflow" in said.stdout
    assert "pages in Prefect" in said.stdout
    assert found(stack, *MARKERS) == [], said
    left = httpx.get(address, trust_env=False).raise_for_status().text
    assert left.startswith("<p>row 7 of forgotten-")
    assert "row 7 of forgotten-" in stack.prefect("GET", f"/artifacts/{artifact}")["data"]
    assert stack.run("verify", MODEL).returncode == 0
