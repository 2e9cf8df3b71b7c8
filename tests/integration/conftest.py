"""Fixtures that several integration tests share."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.emergency import Emergency
    from tests.integration.gateway_harness import Gateway
    from tests.integration.gateway_process import Models
    from tests.integration.ray_harness import RayHarness


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> "Models":
    """Two good sklearn models and five bad pyfuncs."""
    # Imported here, because it imports MLflow, which tests of other things should not wait for.
    from tests.integration import gateway_harness  # noqa: PLC0415 - see above

    return gateway_harness.save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def ray_engine(
    tmp_path_factory: pytest.TempPathFactory, mlflow_server: str, models: "Models"
) -> "Iterator[RayHarness]":
    """A real Ray node whose model has no router; what a test deploys stays for the next one, but the router."""
    from tests.integration import ray_harness  # noqa: PLC0415 - see above

    root = tmp_path_factory.mktemp("ray")
    saved = ray_harness.save_ray_models(models, root / "models")
    ray_harness.register_saved_versions(mlflow_server, saved, ("1", "2", "3"))
    with ray_harness.running_ray(root) as node:
        yield ray_harness.RayHarness(node, mlflow_server, saved, root)


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
