"""`seqgen image`: train image models, and every command about a trained one.

Imports `seqgen.image`. Start with `main` (train, evaluate); `pictures` draws, `applications` measures what a
model is good for.
"""
