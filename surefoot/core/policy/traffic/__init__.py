"""Define the policy section `traffic`, and the rules that follow from what its engine can do."""
