"""Networks of image models, their losses and their settings; nothing here updates a weight.

Start with `networks`.
"""
