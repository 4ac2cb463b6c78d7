"""Benchmarks: generators against a known distribution, and the speed of training, sampling and measuring.

Imports `training` and the folders above it. Start with `generators` or `speed`; README.md has the tables.

generators       generators and controls beside each other: what is run, in which order
case             a distribution, a regime and a seed: its trainings and samplers
truths           true distributions, and how far from them a sampler is
controls         sharpened, truncated and mixed distributions of known density
comparisons      rows over seeds, and beside the likelihood model of the same diversity
jobs             parts of a benchmark whose results are kept
frontier         its table and picture
speed            tasks beside plain code and a lower bound
floor            the lower bound: the products and passes of a task, alone
speed_results    rows kept by instruction set
reference_loops  the plain code of published implementations
latent, metrics  the same for the sentence VAE and for BLEU
discriminators   the same for a discriminator's update; loading: what batches cost a step
scale            whole commands at growing sizes: time, peak memory, growth; child_usage measures a process
user_texts       the default generator on texts that users bring, beside plain_models in plain PyTorch
image_sizes      every image model with its defaults on images of every size
timing           interleaved timing, so that other work on the machine affects all alike
"""
