"""Images from files, folders and the hub, and batches of them.

Start with `dataset.open_images`.
"""
