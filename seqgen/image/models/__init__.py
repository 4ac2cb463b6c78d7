"""The image models, one file each, on the contract of `seqgen.algorithms.base`.

Start with `vae` or `gan`.
"""
