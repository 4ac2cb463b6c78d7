"""The image models, one file each, on the contract of `seqgen.algorithms.base`; `base` has what they share.

Start with `vae` or `gan`.
"""
