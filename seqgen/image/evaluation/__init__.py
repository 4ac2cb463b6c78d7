"""The metrics of an image run.

Start with `evaluate`.
"""
