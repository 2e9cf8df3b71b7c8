"""One stack for the whole session, and one promotion through it that several tests look at."""

from collections.abc import Iterator

import pytest

from tests.e2e import promotion_fixtures, stack_scenario


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
