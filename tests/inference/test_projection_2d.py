"""Codes in the plane: principal components against sklearn, far things far apart, what cannot be mapped."""

import sys

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from seqgen.core.errors import UserError
from seqgen.inference import projection_2d


def test_principal_components_are_those_of_sklearn():
    values = np.random.default_rng(0).normal(size=(31, 5)) * [5, 3, 2, 1, 0.1] + 7
    components, shares = projection_2d.principal(values)
    reference = PCA().fit(values)
    np.testing.assert_allclose(shares, reference.explained_variance_ratio_, atol=1e-9)
    np.testing.assert_allclose(np.abs(components), np.abs(reference.transform(values)), atol=1e-9)
    largest = components[np.abs(components).argmax(axis=0), range(5)]
    assert (largest > 0).all()


def test_codes_that_are_all_the_same_have_no_variance():
    _, shares = projection_2d.principal(np.ones((5, 3)))
    assert (shares == 0).all()


def test_maps():
    codes = torch.cat([torch.randn(30, 7) - 9, torch.randn(30, 7) + 9])
    found = projection_2d.project(codes, "pca")
    assert found.points.shape == (60, 2)
    assert found.axes[0].startswith("first principal component (9")
    near = projection_2d.project(codes, "tsne", seed=3)
    assert near.axes is None
    assert np.array_equal(near.points, projection_2d.project(codes, "tsne", seed=3).points)
    centres = near.points[:30].mean(axis=0), near.points[30:].mean(axis=0)
    spread = near.points[:30].std(axis=0).max()
    assert np.linalg.norm(centres[0] - centres[1]) > 3 * spread  # what is far apart stays so
    plane = projection_2d.project(codes[:, :2], "pca")
    np.testing.assert_allclose(plane.points, codes[:, :2].numpy(), atol=1e-6)
    assert plane.axes == ("first unit of the code", "second unit of the code")


def test_what_cannot_be_mapped(monkeypatch):
    with pytest.raises(UserError, match="2 codes make no map; give at least 3"):
        projection_2d.project(torch.randn(2, 7), "tsne")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match="pip install umap-learn"):
        projection_2d.project(torch.randn(9, 7), "umap")


def test_codes_that_are_all_the_same_make_no_map():
    with pytest.raises(UserError, match="all 31 codes are the same and make no map"):
        projection_2d.project(torch.ones(31, 3), "tsne")
