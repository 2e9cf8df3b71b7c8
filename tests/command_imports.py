"""Import early what most commands import; nothing in here may read the environment when it is imported."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns about its own type hints when it is imported
    import mlflow.pyfunc  # noqa: F401 - for the processes that are forked
    import pandas as pd  # noqa: F401 - same

    import surefoot.wiring  # noqa: F401 - same
