"""Register many models, and run one pass of `reconcile` over all of them."""
