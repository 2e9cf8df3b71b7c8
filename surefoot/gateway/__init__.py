"""Serve predictions: the data plane, which keeps serving when everything else is down."""
