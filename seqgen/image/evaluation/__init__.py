"""The metrics of an image run.

Imports `runs` and the folders of `seqgen.image` above it. Start with `evaluate`, which documents every key.

features, sample_quality  the Fréchet distance, precision, recall, density, coverage, nearest training images
ais                       likelihood by annealed importance sampling
"""
