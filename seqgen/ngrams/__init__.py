"""N-gram counts, and the Kneser–Ney language model made of them.

Imports `core`. Start with `ngrams`.
"""
