"""2-D projections of latents: principal components against sklearn, separation, what cannot be projected."""

import sys

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from seqgen.core.errors import UserError
from seqgen.inference import projection_2d


def test_principal_components_are_those_of_sklearn():
    values = np.random.default_rng(0).normal(size=(31, 5)) * [5, 3, 2, 1, 0.1] + 7
    components, ratios = projection_2d.principal_components(values)
    reference = PCA().fit(values)
    np.testing.assert_allclose(ratios, reference.explained_variance_ratio_, atol=1e-9)
    np.testing.assert_allclose(np.abs(components), np.abs(reference.transform(values)), atol=1e-9)
    largest = components[np.abs(components).argmax(axis=0), range(5)]
    assert (largest > 0).all()


def test_equal_latents_have_no_variance():
    _, ratios = projection_2d.principal_components(np.ones((5, 3)))
    assert (ratios == 0).all()


def test_maps():
    latents = torch.cat([torch.randn(30, 7) - 9, torch.randn(30, 7) + 9])
    found = projection_2d.project(latents, "pca")
    assert found.points.shape == (60, 2)
    assert found.axes[0].startswith("first principal component (9")
    near = projection_2d.project(latents, "tsne", seed=3)
    assert near.axes is None
    assert np.array_equal(near.points, projection_2d.project(latents, "tsne", seed=3).points)
    centres = near.points[:30].mean(axis=0), near.points[30:].mean(axis=0)
    spread = near.points[:30].std(axis=0).max()
    assert np.linalg.norm(centres[0] - centres[1]) > 3 * spread  # clusters stay apart
    plane = projection_2d.project(latents[:, :2], "pca")
    np.testing.assert_allclose(plane.points, latents[:, :2].numpy(), atol=1e-6)
    assert plane.axes == ("first latent dimension", "second latent dimension")


def test_latents_of_one_dimension_are_at_their_values():
    latents = torch.randn(31, 1)
    for method in ("pca", "tsne"):
        found = projection_2d.project(latents, method, seed=3)
        np.testing.assert_allclose(found.points[:, 0], latents[:, 0].numpy(), atol=1e-6)
        assert len(set(found.points[:, 1])) == 31
        assert found.axes == ("the latent dimension", "at random heights")
        assert np.array_equal(found.points, projection_2d.project(latents, method, seed=3).points)


def test_what_cannot_be_mapped(monkeypatch):
    with pytest.raises(UserError, match="2 latents are too few for a map; give at least 3"):
        projection_2d.project(torch.randn(2, 7), "tsne")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match="pip install umap-learn"):
        projection_2d.project(torch.randn(9, 7), "umap")


def test_equal_latents_make_no_map():
    with pytest.raises(UserError, match="all 31 latents are equal"):
        projection_2d.project(torch.ones(31, 3), "tsne")
