"""The image models, one file each, on the contract of `seqgen.algorithms.base`.

Imports `data` and `networks` of `seqgen.image`. Start with `vae` or `gan`; `base` has what all models share.
"""
