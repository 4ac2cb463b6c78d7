"""From settings to a run folder: the loop, checkpoints, and what makes a run ready to train.

Imports `algorithms` and what stands above it. Start with `setup`, then `loop`.
"""
