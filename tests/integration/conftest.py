"""Fixtures that several integration tests share."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.emergency import Emergency
    from tests.integration.gateway_harness import Gateway
    from tests.integration.gateway_process import Models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> "Models":
    """Two good sklearn models and five bad pyfuncs."""
    # Imported here, because it imports MLflow, which tests of other things should not wait for.
    from tests.integration import gateway_harness  # noqa: PLC0415 - see above

    return gateway_harness.save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def gateway(tmp_path: Path, models: "Models") -> "Iterator[Gateway]":
    """A gateway without a route."""
    from tests.integration import gateway_harness  # noqa: PLC0415 - see above

    with gateway_harness.listening(tmp_path, models) as listening:
        yield listening


@pytest.fixture
def routed(gateway: "Gateway") -> "Gateway":
    """A gateway whose champion is version 1."""
    gateway.shift(0, None, generation=1)
    return gateway


@pytest.fixture
def emergency(tmp_path: Path, models: "Models", monkeypatch: pytest.MonkeyPatch) -> "Iterator[Emergency]":
    """An emergency about to happen: a real gateway and journal, MLflow and Prefect down."""
    from tests.integration.emergency import Emergency  # noqa: PLC0415 - see above
    from tests.integration.gateway_harness import listening  # noqa: PLC0415 - see above

    with listening(tmp_path / "home" / "gateway", models) as gateway:
        made = Emergency(tmp_path / "home", gateway)
        monkeypatch.setenv("SUREFOOT_HOME", str(made.home))
        try:
            yield made
        finally:
            made.close()
