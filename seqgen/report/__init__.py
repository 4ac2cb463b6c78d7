"""One HTML page about one or more runs.

Imports `evaluation` and what stands above it. Start with `page`.
"""
