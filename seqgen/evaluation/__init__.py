"""Evaluations made of metrics: rows, their intervals, tables, temperature sweeps.

Imports `inference` and what stands above it. Start with `text.evaluate`.
"""
