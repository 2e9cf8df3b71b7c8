"""What people see: the promotion in the pages of Prefect and of MLflow, in a real browser."""

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.promotion_fixtures import MODEL, TAKEN_BACK, Promotion, TurnedAway
from tests.e2e.stack_scenario import Scenario

PATIENCE_MS = 60_000


def test_prefect_shows_the_stages_of_a_promotion(
    stack: Scenario, promotion: Promotion, page: Page, tmp_path: Path
) -> None:
    """The page of the flow run names the run and the task of every stage."""
    page.goto(f"{stack.settings.prefect}/runs/flow-run/{promotion.run['id']}")
    page.get_by_text("Task Runs", exact=True).first.click()
    for name in ("open", "validate", "shadow", "canary step 1", "canary step 2", "promote", "bake"):
        expect(page.get_by_text(name).first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text(f"promote {MODEL} 2").first).to_be_visible()
    page.screenshot(path=tmp_path / "prefect.png")


def test_mlflow_shows_the_run_of_a_rollout(stack: Scenario, promotion: Promotion, page: Page, tmp_path: Path) -> None:
    """The page of the rollout's MLflow run shows the run's name."""
    rollout = next(run for run in stack.runs(MODEL) if run["run_name"].startswith("promotion of version 2"))
    page.goto(f"{stack.settings.mlflow}/#/experiments/{rollout['experiment_id']}/runs/{rollout['run_id']}")
    expect(page.get_by_text(rollout["run_name"]).first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("surefoot.candidate_digest").first).to_be_visible()
    page.screenshot(path=tmp_path / "mlflow.png")


def test_prefect_shows_a_rolled_back_rollout_as_one(
    stack: Scenario, turned_away: TurnedAway, page: Page, tmp_path: Path
) -> None:
    """The run's page says RolledBack and why; the tasks that did not run say Skipped."""
    run = turned_away.rolled_back["id"]
    page.goto(f"{stack.settings.prefect}/runs/flow-run/{run}")
    expect(page.get_by_text(f"promote {TAKEN_BACK} 2").first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("RolledBack", exact=True).first).to_be_visible()
    page.screenshot(path=tmp_path / "prefect-run.png")
    page.get_by_text("Task Runs", exact=True).first.click()
    for name in ("canary step 1", "canary step 2", "promote"):
        expect(page.get_by_text(name).first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("Skipped", exact=True).first).to_be_visible()
    page.screenshot(path=tmp_path / "prefect-tasks.png")


def test_mlflow_shows_on_the_versions_page_what_became_of_it(
    stack: Scenario, turned_away: TurnedAway, page: Page, tmp_path: Path
) -> None:
    """The page of a version that was rolled back shows outcome and reason, and its link leads to the rollout's run."""
    page.goto(f"{stack.settings.mlflow}/#/models/{TAKEN_BACK}/versions/2")
    expect(page.get_by_text("Surefoot outcome: RolledBack").first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("surefoot.outcome").first).to_be_visible()
    page.screenshot(path=tmp_path / "mlflow-version.png")
    leads_to = page.get_by_role("link", name=f"rollout {turned_away.rollout}").first.get_attribute("href")
    page.goto(leads_to or "")
    expect(page.get_by_text("promotion of version 2").first).to_be_visible(timeout=PATIENCE_MS)
    page.screenshot(path=tmp_path / "mlflow-rollout.png")
