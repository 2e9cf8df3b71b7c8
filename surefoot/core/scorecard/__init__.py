"""Score what a model's policy and journal prove, by the rubric of the ML Test Score."""
