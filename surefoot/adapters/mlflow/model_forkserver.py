"""Fork a host process for each model version, with MLflow imported only once.

Usage: `python -m surefoot.adapters.mlflow.model_forkserver FD`
"""

import sys
import warnings

from surefoot.adapters.mlflow.model_host import run_model_host
from surefoot.adapters.mlflow.pyfunc.pyfunc_scorer import import_libraries_early
from surefoot.models.forking.forkserver_program import serve_forks


def main() -> None:
    """Fork model hosts on request until the requesting process has ended."""
    warnings.simplefilter("ignore")
    import_libraries_early()
    serve_forks(int(sys.argv[1]), run_model_host)


if __name__ == "__main__":
    main()
