"""N-gram counts, and the Kneser–Ney language model estimated from them.

Imports `core`. Start with `ngrams`.
"""
