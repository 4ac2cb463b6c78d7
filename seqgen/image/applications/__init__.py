"""Applications of a trained image model, each a command of `seqgen image`.

Imports the other folders of `seqgen.image`. Start with `anomaly`.

few_labels, augmentation  latent vectors, and samples, for a classifier with few labels
latent, figures           latent vectors of images, and pictures of samples and of the latent space
"""
