"""The verbs of the service: run it, look at its settings, give tokens, keep its catalog."""
