"""The speed of training, sampling and measuring, beside plain code and a lower bound.

Imports `algorithms` and the folders above it. Start with `speed`; README.md has the tables.

reference_loops  the plain code of published implementations
latent, metrics  the same for the sentence VAE and for BLEU
timing           interleaved timing, so that other work on the machine affects all alike
"""
