"""What knows nothing of text or models: errors, settings, the cache, devices, optimisers, files written whole.

Imports nothing of seqgen. Start with `settings`: how a dataclass becomes options of the command line.
"""
