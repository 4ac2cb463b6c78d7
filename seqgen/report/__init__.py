"""One self-contained HTML page about one or more runs.

Imports `evaluation` and the folders above it. Start with `page`.

training, scores, samples, latent  the sections
text_analysis                      what the sections say about sentences
charts, html                       SVG and escaped HTML
"""
