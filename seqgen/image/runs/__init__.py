"""Training runs on images: from settings to a run folder, a run read back, and its figures.

Start with `setup.train_job`.
"""
