"""Codes of images: the plane against the normal's quantiles, paths by hand."""

import torch

from seqgen.image.applications import latent


def test_the_plane_divides_the_normal_evenly():
    # side 2: the quantiles ¼ and ¾ of the standard normal are ∓0.67449; the first row is the upper one
    q = 0.67449
    expected = torch.tensor([[-q, q], [q, q], [-q, -q], [q, -q]])
    torch.testing.assert_close(latent.plane(2), expected, atol=1e-5, rtol=0)
    latents = latent.plane(20)
    assert latents.shape == (400, 2)
    shares = torch.special.ndtr(latents.double()).view(20, 20, 2)
    torch.testing.assert_close(shares[3, :, 0].diff(), torch.full((19,), 1 / 20).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(shares[:, 5, 1].diff(), torch.full((19,), -1 / 20).double(), atol=1e-6, rtol=0)


def test_paths_are_straight_and_hold_both_ends():
    starts, ends = torch.randn(3, 7), torch.randn(3, 7)
    found = latent.paths(starts, ends, 5)
    assert found.shape == (3, 5, 7)
    torch.testing.assert_close(found[:, 0], starts)
    torch.testing.assert_close(found[:, 4], ends)
    torch.testing.assert_close(found[:, 1], 0.75 * starts + 0.25 * ends)
