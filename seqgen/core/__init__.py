"""What knows nothing of text, images or models: errors, settings, files, devices, optimisation, plugins.

Imports nothing of seqgen. Start with `settings`: how a dataclass becomes options of the command line.
Then `errors` (UserError, which every folder raises), `plugins` (classes by name) and `optim` (one update of
several networks); `untrusted` reads files that somebody else may have written, `atomic_files`, `cache` and
`partial_files` write to disk, `random_state`, `device` and `memory` set torch up; `distributed` lets
several processes train as one, and `compiled` lets torch compile networks.
"""
