"""Define the errors that can occur when a model's route is changed."""


class StaleRoute(Exception):
    """A newer route, or another one of the same generation, is in force."""


class LoadFailed(Exception):
    """A version of the wanted route cannot be loaded.

    Attributes:
        kind: Type of the error that says why.
    """

    def __init__(self, message: str, kind: str) -> None:
        """Say which version and why."""
        super().__init__(message)
        self.kind = kind


class KillSwitchSet(Exception):
    """The kill switch is set."""


class NotPersisted(Exception):
    """The route is in force but not on disk; a restart would forget it."""
