"""From the settings of an image model to its run folder, and back: setting up, loading, plots of a run.

Imports the folders of `seqgen.image` above it, and `training`. Start with `setup.train`.
"""
