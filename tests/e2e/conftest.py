"""One stack for the whole session, and one promotion through it that several tests look at."""

from collections.abc import Iterator

import pytest

from tests.e2e import houses, worlds


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[worlds.World]:
    """MLflow, Prefect and the gateway, started by `surefoot up` and stopped by `surefoot down`."""
    try:
        yield worlds.begin(tmp_path_factory.mktemp("stack"))
    finally:
        worlds.end()


@pytest.fixture(scope="session")
def promotion(stack: worlds.World) -> houses.Promotion:
    """A better version of house-prices that nobody but a data scientist has touched, promoted and baked."""
    return houses.promote(stack)


@pytest.fixture(scope="session")
def cabins(stack: worlds.World) -> houses.Cabins:
    """Small models with short policies that no scheduled flow looks at, served and with requests behind them."""
    return houses.cabins(stack)


@pytest.fixture(scope="session")
def turned_away(stack: worlds.World) -> houses.TurnedAway:
    """One candidate that was taken back in the first step of its ramp, and one that was rejected for its data."""
    return houses.turn_away(stack)
