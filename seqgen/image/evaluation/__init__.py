"""The measures of an image run.

Start with `evaluate`.
"""
