"""What knows nothing of text or models: errors, settings, plugins, the cache, devices, optimisers.

Imports nothing of seqgen. Start with `settings`: how a dataclass becomes options of the command line.
"""
