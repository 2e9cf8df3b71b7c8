"""One stack for the whole session, and one promotion through it that several tests look at."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.e2e import promotion_fixtures, stack_scenario

QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of the machine's own Chromium."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.fail("there is no Chromium on PATH: install the package 'chromium'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stack_scenario.Scenario]:
    """MLflow, Prefect and the gateway, started by `surefoot up` and stopped by `surefoot down`."""
    with stack_scenario.running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
def promotion(stack: stack_scenario.Scenario) -> promotion_fixtures.Promotion:
    """A better version of house-prices that nobody but a data scientist has touched, promoted and baked."""
    return promotion_fixtures.promote(stack)


@pytest.fixture(scope="session")
def cabins(stack: stack_scenario.Scenario) -> promotion_fixtures.Cabins:
    """Small models with short policies that no scheduled flow looks at, served and with requests behind them."""
    return promotion_fixtures.cabins(stack)


@pytest.fixture(scope="session")
def turned_away(stack: stack_scenario.Scenario) -> promotion_fixtures.TurnedAway:
    """One candidate that was taken back in the first step of its ramp, and one that was rejected for its data."""
    return promotion_fixtures.turn_away(stack)
