"""Engines: who computes the data term of the objective."""
