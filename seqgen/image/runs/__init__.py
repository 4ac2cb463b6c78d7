"""Training runs on images: from settings to a run folder, and a run read back.

Imports `data`, `networks` and `models` of `seqgen.image`, and `seqgen.training`. Start with
`setup.train_job`; `load` reads a run, `plots` writes grids of images and scatter plots.
"""
