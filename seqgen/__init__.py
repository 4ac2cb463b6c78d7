"""Text generation with sequence GANs and small likelihood models."""
