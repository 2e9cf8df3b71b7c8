"""Answer the judge's evidence requests from the prediction log and its labels."""
