"""Evaluations of runs and of sentences: rows of metrics with intervals, tables, temperature sweeps.

Imports `inference` and the folders above it. Start with `text.evaluate`; README.md explains metrics and
protocols.

references, scores         what all rows are compared with, and the metrics of one row
runs, quality_diversity    rows of trained runs, and of a run at several temperatures
known_distribution         exact metrics on a built-in corpus
latent                     metrics of latent variables
sentence_files, table      what is read and what is printed
"""
