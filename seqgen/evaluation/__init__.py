"""Evaluations of runs and of sentences: rows of metrics with intervals, tables, temperature sweeps.

Imports `inference` and what stands above it. Start with `text.evaluate`.
"""
