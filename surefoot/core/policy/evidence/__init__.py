"""Define the policy section `evidence`: predictions, labels and signals that are recorded outside of Surefoot."""
