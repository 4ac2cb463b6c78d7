"""Networks of image models, their pixel losses and their settings; nothing that trains.

Start with `networks`.
"""
