"""Versions with code of their own, for `test_hosted`: modules of one name, missing ones, and what ends a process."""

import os
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import cloudpickle
import pandas as pd

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.pyfunc
    from mlflow.models import infer_signature
    from mlflow.pyfunc.model import PythonModel

FRAME = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [3.0, 1.0, 0.5]})
FACTORS = {"1": 1.0, "2": 1000.0}


class Prepared(PythonModel):
    """Answers with what its own `prep.py` makes of x."""

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - MLflow warns about types it does not know
        """Answer."""
        import prep  # type: ignore[import-not-found]  # noqa: PLC0415 - the version's own module

        return prep.prepare(model_input.x)


class Needs(PythonModel):
    """Imports a module when it is loaded."""

    def load_context(self, context):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - MLflow warns about types it does not know
        """Import."""
        import nowhere_to_be_found  # type: ignore[import-not-found]  # noqa: F401, PLC0415 - it is to be missing

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - same
        """Answer."""
        return model_input.x


class NeedsLate(PythonModel):
    """Imports a module when it is asked."""

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - same
        """Answer."""
        import nowhere_to_be_found  # noqa: F401, PLC0415 - it is to be missing

        return model_input.x


class Quits(PythonModel):
    """Ends the process when it is loaded."""

    def load_context(self, context):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - same
        """End it."""
        os._exit(9)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - same
        """Answer."""
        return model_input.x


class Poisoned(PythonModel):
    """Ends its process at some rows."""

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - same
        """Answer, or end."""
        if (model_input.x == 666.0).any():
            os._exit(7)
        return model_input.x * 0.5


class Hangs(PythonModel):
    """Never comes back from some rows."""

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - MLflow warns about types it does not know
        """Answer, or hang."""
        if (model_input.x == 666.0).any():
            time.sleep(600)
        return model_input.x * 0.5


class Centred(PythonModel):
    """Answers with how far each row is from the mean of its batch, and one."""

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - same
        """Answer."""
        return 1.0 + model_input.x - model_input.x.mean()


class Turning(PythonModel):
    """Answers row by row but for large numbers, which have the mean of their batch added."""

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - same
        """Answer."""
        return model_input.x + model_input.x.mean() * (model_input.x > 10_000.0)


def save(path: Path, model: Any, **more: Any) -> Path:
    """Save a model whose classes are part of it."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice on saving a model
        requirements = more.pop("pip_requirements", ["pandas"])
        mlflow.pyfunc.save_model(
            str(path), python_model=model, signature=infer_signature(FRAME), pip_requirements=requirements, **more
        )
    return path


def save_prepared(root: Path) -> None:
    """Two versions whose `prep.py` multiply by different numbers."""
    for number, factor in FACTORS.items():
        code = root / f"code-{number}" / "prep.py"
        code.parent.mkdir(parents=True)
        code.write_text(f"def prepare(x):\n    return x * {factor}\n", encoding="utf-8")
        save(root / number, Prepared(), code_paths=[str(code)])
        shutil.rmtree(code.parent)
