"""Figures of a trained model: which images stand where, pixel by pixel, and what a model cannot draw."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from seqgen.core.errors import UserError
from seqgen.image.applications import figures
from seqgen.image.data.dataset import ImageData, Images
from seqgen.image.models.autoencoder import Autoencoder, AutoencoderConfig
from seqgen.image.networks.networks import NetConfig
from seqgen.image.runs import plots
from seqgen.image.runs.load import TrainedImages
from seqgen.training.run_folder import Run


class Halver:
    """A model whose latent is the first two pixels, and whose images repeat it."""

    def __init__(self, *, conditional=False):
        self.config = SimpleNamespace(latent_dim=2, conditional=conditional)

    def encode(self, images, labels):
        return images.flatten(1)[:, :2]

    def prior(self, noise):
        return noise

    def decode(self, latents, labels=None):
        return latents.repeat(1, 32)[:, :64].view(-1, 1, 8, 8) / 2

    def reconstruct(self, images, labels):
        return self.decode(self.encode(images, labels), labels)

    def sample(self, n, labels=None, rng=None):
        values = torch.rand(n, generator=rng) if labels is None else labels / 10
        return values[:, None, None, None].expand(n, 1, 8, 8)


class Generator(Halver):
    """The same without an encoder."""

    encode = None

    def __getattribute__(self, name):
        if name == "encode":
            raise AttributeError(name)
        return super().__getattribute__(name)


def run(model):
    rng = torch.Generator().manual_seed(0)
    truth = torch.tensor([2, 0, 1, 1, 0, 2, 1, 1, 2, 0, 0, 1, 2])
    images = Images(torch.randint(0, 256, (13, 1, 8, 8), generator=rng, dtype=torch.uint8), truth)
    data = ImageData("noise", images, images, images, classes=3, hash="")
    config = {"algorithm": "halver", "classes": 3, "without": None, "training_labels": [0, 1, 2]}
    trained = TrainedImages(Run(Path("r"), config), model, torch.device("cpu"))
    trained.__dict__["data"] = data  # what would be read anew
    return trained


@pytest.fixture
def drawn(monkeypatch):
    """What `plots.grid` is asked to draw, instead of a file."""
    calls = []
    monkeypatch.setattr(plots, "grid", lambda images, *rest, **options: calls.append((images, rest, options)))
    return calls


def test_images_are_balanced_over_labels():
    images = run(Halver()).data.test
    rows = figures.balanced_rows(images, 11, np.random.default_rng(0))
    assert len(set(rows)) == 11
    assert images.labels[rows].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]
    every = figures.balanced_rows(images, 13, np.random.default_rng(0))
    assert sorted(every) == list(range(13))
    unlabelled = Images(images.pixels, torch.full((13,), -1))
    assert len(set(figures.balanced_rows(unlabelled, 7, np.random.default_rng(0)))) == 7
    with pytest.raises(UserError, match="14 images are too many: the test split has 13"):
        figures.balanced_rows(images, 14, np.random.default_rng(0))


def test_reconstructions_stand_below_their_originals(drawn):
    trained = run(Halver())
    figures.reconstructions(trained, 13, "p")
    images, (across, path), options = drawn[0]
    assert (across, path, options["captions"]) == (10, "p", ["original", "reconstruction"] * 2)
    assert images.shape == (40, 1, 8, 8)
    truth = figures.test_batch(trained, 13, 0)
    first, second = images[:10], images[20:23]
    assert torch.equal(torch.cat([first, second]), truth.images)
    assert torch.equal(images[10:20], trained.model.reconstruct(first, None))
    assert torch.equal(images[30:33], trained.model.reconstruct(second, None))
    assert (images[23:30] == 1).all()  # white where there is no image
    assert (images[33:] == 1).all()


def test_noise_has_the_given_standard_deviation(drawn):
    config = AutoencoderConfig(net=NetConfig(hidden=5), latent_dim=2, noise_std=0.1)
    trained = run(Autoencoder(config, shape=(1, 8, 8), classes=3))
    trained.data.test.pixels.fill_(128)
    for noise, expected in ((None, 0.1), (0.05, 0.05), (0.0, 0.0)):
        figures.denoised(trained, 10, "p", noise=noise)
        images, _, options = drawn.pop()
        assert options["captions"] == ["noisy", "denoised", "clean"]
        noisy, reconstructed, clean = images.split(10)
        assert (clean == 128 / 255).all()
        assert (noisy - clean).std().item() == pytest.approx(expected, rel=0.1)
        assert torch.equal(reconstructed, trained.model.reconstruct(noisy, None))
    trained = run(Halver())  # a model that was trained without noise
    trained.data.test.pixels.fill_(128)
    figures.denoised(trained, 10, "p")
    noisy, _, clean = drawn.pop()[0].split(10)
    assert (noisy - clean).std().item() == pytest.approx(0.3, rel=0.2)
    assert noisy.min() >= 0
    assert noisy.max() <= 1


def test_interpolations_go_from_image_to_image(drawn):
    trained = run(Halver())
    figures.interpolations(trained, "p", rows=4, points=5)
    images, (across, _), _ = drawn[0]
    assert across == 9
    rows = images.view(4, 9, 1, 8, 8)
    starts, ends = figures.image_pairs(trained, 4, 0)
    assert starts.labels.tolist() == [0, 2, 1, 0]
    assert ends.labels.tolist() == [1, 0, 2, 1]
    assert torch.equal(rows[:, 0], starts.images)
    assert torch.equal(rows[:, 8], ends.images)
    assert (rows[:, [1, 7]] == 1).all()  # white between images and paths
    torch.testing.assert_close(rows[:, 2], trained.model.reconstruct(starts.images, None))
    torch.testing.assert_close(rows[:, 6], trained.model.reconstruct(ends.images, None))
    torch.testing.assert_close(rows[:, 4], (rows[:, 2] + rows[:, 6]) / 2)


def test_interpolations_of_a_conditional_model_keep_the_label(drawn):
    seen = []
    model = Halver(conditional=True)
    decode = model.decode
    model.decode = lambda latents, labels: (seen.append(labels), decode(latents))[1]
    trained = run(model)
    starts, ends = figures.image_pairs(trained, 7, 0)
    assert torch.equal(starts.labels, ends.labels)
    for seed in range(20):
        starts, ends = figures.image_pairs(trained, 13, seed)
        assert all(not torch.equal(*pair) for pair in zip(starts.images, ends.images, strict=True))
    figures.interpolations(trained, "p", rows=3, points=2)
    assert seen[0].tolist() == [0, 0, 1, 1, 2, 2]


def test_of_a_label_with_one_test_image_no_pair_is_made():
    trained = run(Halver(conditional=True))
    trained.data.test.labels[:] = torch.tensor([2, 0] + [1] * 5 + [-1] * 6)
    starts, ends = figures.image_pairs(trained, 11, 0)
    assert sorted(starts.labels.tolist()) == [-1] * 6 + [1] * 5
    assert torch.equal(starts.labels, ends.labels)
    with pytest.raises(UserError, match="12 images are too many: the test split has 11"):
        figures.image_pairs(trained, 12, 0)
    trained.data.test.labels[:] = torch.arange(13)
    with pytest.raises(UserError, match="no two test images have one label, as both ends of a row"):
        figures.image_pairs(trained, 1, 0)


def test_interpolations_without_an_encoder_go_between_draws_of_the_prior(drawn):
    figures.interpolations(run(Generator()), "p", rows=4, points=5)
    images, (across, _), _ = drawn[0]
    assert across == 5
    rows = images.view(4, 5, 1, 8, 8)
    torch.testing.assert_close(rows[:, 2], (rows[:, 0] + rows[:, 4]) / 2)


def test_the_manifold_is_the_latent_plane(drawn):
    figures.manifold(run(Halver()), "p", side=3)
    images, (across, _), options = drawn[0]
    assert (images.shape, across) == ((9, 1, 8, 8), 3)
    assert options["gap"]  # images of 8 pixels fill their frames
    assert (
        images[0, 0, 0, 0] < 0
    ).all()  # the first dimension is least at the left, the second greatest above
    assert (images[0, 0, 0, 1] > 0).all()
    wide = run(Halver())
    wide.model.config.latent_dim = 3
    with pytest.raises(UserError, match="has 3 latent dimensions, and a plane has two; draw its map"):
        figures.manifold(wide, "p")


def test_samples_of_a_label(drawn):
    trained = run(Halver(conditional=True))
    figures.samples(trained, 5, "p", label=2, columns=4)
    images, (across, _), options = drawn[0]
    assert (across, options["captions"]) == (4, ["2", "2"])
    assert (images[:5] == 0.2).all()
    assert (images[5:] == 1).all()  # white behind the last
    with pytest.raises(UserError, match="no label '3'; the labels are 0, 1, 2"):
        figures.samples(trained, 5, "p", label=3)
    with pytest.raises(UserError, match="'r' is not conditional; drop --label, or train with --set cond"):
        figures.samples(run(Halver()), 5, "p", label=2)


def test_a_grid_of_a_conditional_model_has_rows_of_the_labels_that_it_was_trained_on(drawn):
    trained = run(Halver(conditional=True))
    trained.run.config["training_labels"] = [0, 2]
    figures.samples(trained, 7, "p", columns=3)  # four of label 0 and three of label 2
    images, (across, _), options = drawn[0]
    assert (across, options["captions"]) == (3, ["0", "0", "2"])
    first, rest, last = images[:, 0, 0, 0].split(3)
    assert (first.tolist(), last.tolist()) == ([0, 0, 0], pytest.approx([0.2] * 3))
    assert rest.tolist() == [0, 1, 1]
    figures.samples(trained, 2, "p", columns=5)
    assert drawn[1][1][0] == 1  # no column that all rows leave empty
    figures.samples(run(Halver()), 7, "p", columns=3)
    assert "captions" not in drawn[2][2]


def test_figures_of_a_conditional_model_leave_out_what_it_was_not_trained_on(drawn):
    trained = run(Halver(conditional=True))
    assert set(figures.test_batch(trained, 9, 0).labels.tolist()) == {0, 1, 2}
    trained.run.config["training_labels"] = [0, 2]
    assert set(figures.test_batch(trained, 8, 0).labels.tolist()) == {0, 2}
    figures.interpolations(trained, "p", rows=3)
    assert drawn[0][2]["captions"] == ["0", "2", "0"]
    figures.interpolations(run(Halver()), "p", rows=3)
    assert drawn[1][2]["captions"] == []
    figures.manifold(trained, "p", side=3)
    figures.manifold(trained, "p", side=3, label=2)
    assert [call[2]["captions"] for call in drawn[2:]] == [["label 0", "", ""], ["label 2", "", ""]]


def test_samples_are_files_of_their_own_size_and_the_same_for_a_seed(tmp_path):
    trained = run(Halver())
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        figures.sample_files(trained, 7, tmp_path / name, seed=seed)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [f"{i:06d}.png" for i in range(7)]
    with Image.open(tmp_path / "a/000005.png") as picture:
        assert (picture.size, picture.mode) == ((8, 8), "L")
        expected = torch.rand(7, generator=torch.Generator().manual_seed(3))[5]
        assert (np.asarray(picture) == round(expected.item() * 255)).all()
    contents = [(tmp_path / name / "000002.png").read_bytes() for name in "abc"]
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize("draw", [figures.reconstructions, figures.denoised])
def test_a_model_without_an_encoder_says_so(draw):
    with pytest.raises(UserError, match="run 'r' is a halver, which has no encoder"):
        draw(run(Generator()), 3, "p")


def test_a_map_of_latents(tmp_path):
    figures.latent_map(run(Halver()), tmp_path / "a.png", method="pca", n=9)
    figures.latent_map(run(Halver()), tmp_path / "b.png", method="pca", n=9)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    figures.latent_map(run(Halver()), tmp_path / "c.png", method="pca", n=9, seed=1)  # other images
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


def test_the_plane_of_an_autoencoder_is_that_of_its_training_latents(drawn):
    config = AutoencoderConfig(net=NetConfig(hidden=5), latent_dim=2)
    trained = run(Autoencoder(config, shape=(1, 8, 8), classes=3))
    trained.model.latent_mean.copy_(torch.tensor([3.0, -2.0]))
    trained.model.latent_covariance.copy_(torch.tensor([[4.0, 1.0], [1.0, 0.25]]))
    figures.manifold(trained, "p", side=2)
    images, _, _ = drawn[0]
    quartile = 0.674490  # of the standard normal
    rows = [[-1, 1], [1, 1], [-1, -1], [1, -1]]  # the first dimension grows to the right, the second upwards
    latents = torch.tensor([[3 + 2 * quartile * x, -2 + 0.5 * quartile * y] for x, y in rows])
    assert torch.allclose(images, trained.model.decode(latents), atol=1e-6)


def test_a_traversal_changes_one_dimension_at_a_time(drawn):
    trained = run(Halver())
    figures.traversals(trained, "p", points=3, seed=5)
    images, (columns, _), options = drawn[0]
    assert (len(images), columns) == (6, 3)
    start = figures.test_batch(trained, 1, 5).images.flatten(1)[0, :2]
    spread = trained.data.test.batch(slice(None)).images.flatten(1)[:, :2].var(dim=0)
    order = spread.argsort(descending=True).tolist()
    assert options["captions"] == [f"z {dimension}" for dimension in order]
    for row, dimension in enumerate(order):
        for column, value in enumerate((-3.0, 0.0, 3.0)):
            wanted = start.clone()
            wanted[dimension] = value
            torch.testing.assert_close(images[3 * row + column].flatten()[:2], wanted / 2)
    figures.traversals(run(Generator()), "p", dimensions=1, points=5)
    first = drawn[1][0].flatten(1)[:, :2]  # from the mean of the prior
    assert first.tolist() == [[-1.5, 0], [-0.75, 0], [0, 0], [0.75, 0], [1.5, 0]]


def test_activations_are_the_latents_of_the_images_beside_them(monkeypatch):
    seen = {}
    monkeypatch.setattr(plots, "bars", lambda images, values, path, title: seen.update(locals()))
    trained = run(Halver())
    figures.activations(trained, "p", n=5, seed=3)
    assert torch.equal(seen["images"], figures.test_batch(trained, 5, 3).images)
    np.testing.assert_array_equal(seen["values"], seen["images"].flatten(1)[:, :2].numpy())
    assert seen["title"] == "halver on noise: latents of test images"
    with pytest.raises(UserError, match="has no encoder"):
        figures.activations(run(Generator()), "p")
