"""Sampling from a generator and scoring with it: draws, rollouts, relaxations, search, likelihood.

Imports what stands above it, `models` and `functional` most. Start with `sample`.
"""
