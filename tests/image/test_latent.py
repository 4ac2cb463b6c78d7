"""Latents of images: the grid against the normal's quantiles, interpolation by hand."""

import torch

from seqgen.image.applications import latent


def test_the_grid_is_at_even_quantiles_of_the_normal():
    # side 2: the quantiles ¼ and ¾ of the standard normal are ∓0.67449; the first row is the upper one
    q = 0.67449
    expected = torch.tensor([[-q, q], [q, q], [-q, -q], [q, -q]])
    torch.testing.assert_close(latent.prior_grid(2), expected, atol=1e-5, rtol=0)
    latents = latent.prior_grid(20)
    assert latents.shape == (400, 2)
    quantiles = torch.special.ndtr(latents.double()).view(20, 20, 2)
    torch.testing.assert_close(
        quantiles[3, :, 0].diff(), torch.full((19,), 1 / 20).double(), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        quantiles[:, 5, 1].diff(), torch.full((19,), -1 / 20).double(), atol=1e-6, rtol=0
    )


def test_interpolation_is_linear_and_has_both_ends():
    starts, ends = torch.randn(3, 7), torch.randn(3, 7)
    points = latent.interpolate(starts, ends, 5)
    assert points.shape == (3, 5, 7)
    torch.testing.assert_close(points[:, 0], starts)
    torch.testing.assert_close(points[:, 4], ends)
    torch.testing.assert_close(points[:, 1], 0.75 * starts + 0.25 * ends)
