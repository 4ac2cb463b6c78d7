"""One self-contained HTML page about one or more runs.

Imports `evaluation` and the folders above it. Start with `page`.

summary, findings                  what was trained, five numbers, what differs; what to look at
training, scores, samples, latent  the other sections, as data
text_analysis                      what the sections say about sentences
charts, tables                     charts in pixels and tables, as data
rendering, templates/              how all of it becomes HTML
"""
