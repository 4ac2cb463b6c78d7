"""Networks of image models, their losses and their settings; nothing here updates a weight.

Imports `data` of `seqgen.image`. Start with `networks`, the encoders and decoders.

config, adversarial              settings that models share, without and with a critic
pixel_losses, likelihood         log-likelihoods of images
"""
