"""From settings to an image run, and back from its folder.

Start with `setup`.
"""
