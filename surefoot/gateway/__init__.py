"""The data plane: keeps serving when everything else is down."""
