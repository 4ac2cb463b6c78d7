"""Images as tensors: their splits, labels, binarisation, and the stream of batches."""

import pytest
import torch

from seqgen.core.errors import UserError
from seqgen.image.data.dataset import Batch, ImageBatches, Images, at_a_time, in_order, open_images


def test_the_embedded_digits_are_scans_of_ten_digits():
    data = open_images("digits")
    assert data.shape == (1, 8, 8)
    assert data.classes == 10
    # 1,797 scans: a fifth to test on, a twentieth of the rest to validate on
    assert (len(data.train), len(data.valid), len(data.test)) == (1366, 72, 359)
    assert data.train.pixels.max() == 255
    assert sorted(set(data.train.labels.tolist())) == list(range(10))


def test_unknown_names_are_refused():
    with pytest.raises(
        UserError,
        match=r"no images at 'mnits'; give a folder of images, an \.npz or \.npy file, or one of: digits",
    ):
        open_images("mnits")
    with pytest.raises(UserError, match="no binarisation 'dynamical'; did you mean 'dynamic'"):
        open_images("digits", binarise="dynamical")
    with pytest.raises(UserError, match="no label '10'; the labels are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"):
        open_images("digits", without=10)


def rows_of(images):
    return {tuple(row.flatten().tolist()) for row in images.pixels}


def test_splits_are_seeded_and_share_nothing():
    one, again, other = (open_images("digits", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.valid.pixels, again.valid.pixels)
    assert rows_of(one.valid) != rows_of(other.valid)
    assert not rows_of(one.train) & rows_of(one.valid)
    assert len(rows_of(one.train) | rows_of(one.valid)) == 1438
    assert one.hash == other.hash


def test_a_label_left_out_stays_in_the_test():
    data = open_images("digits", without=1)
    assert set(data.train.labels.tolist()) == set(range(10)) - {1}
    assert 1 not in data.valid.labels
    assert set(data.test.labels.tolist()) == set(range(10))
    assert data.classes == 10


def test_images_are_chosen_by_label():
    images = Images(
        torch.arange(7, dtype=torch.uint8)[:, None, None, None], torch.tensor([0, 1, 2, 0, -1, 2, 1])
    )
    assert images.only([2, 1]).labels.tolist() == [1, 2, 2, 1]
    assert images.without([2, -1]).labels.tolist() == [0, 1, 0, 1]
    assert torch.equal(images.only([0]).pixels, images.pixels[[0, 3]])


def test_fixed_binarisation_is_one_draw_of_every_split():
    one, again = (open_images("digits", seed=3, binarise="fixed") for _ in range(2))
    grey = open_images("digits", seed=3)
    for name in ("train", "valid", "test"):
        binary = getattr(one, name).pixels
        assert set(binary.unique().tolist()) == {0, 255}
        assert torch.equal(binary, getattr(again, name).pixels)
        means = getattr(grey, name).pixels.float() / 255
        # a pixel that is black is never on, a white one always
        assert binary[means == 0].sum() == 0
        assert (binary[means == 1] == 255).all()
    # 1,366 · 64 draws: the standard error of the mean is under 0.002
    shift = one.train.pixels.float().mean() - grey.train.pixels.float().mean()
    assert float(shift) / 255 == pytest.approx(0.0, abs=0.006)


def test_dynamic_binarisation_leaves_training_images_grey():
    data, grey = (open_images("digits", seed=3, binarise=kind) for kind in ("dynamic", "none"))
    assert torch.equal(data.train.pixels, grey.train.pixels)
    assert set(data.test.pixels.unique().tolist()) == {0, 255}


def some_images(n):
    values = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, 2, 3).contiguous()
    return Images(values, torch.arange(n))


def test_an_epoch_visits_every_image_once_in_full_batches():
    images, size = some_images(23), 5
    batches = ImageBatches(images, size, seed=3)
    assert len(batches) == 4  # 20 images, and 3 left over
    epochs = [[next(batches) for _ in range(4)] for _ in range(3)]
    assert batches.epoch == 3.0
    orders = [torch.cat([batch.labels for batch in epoch]).tolist() for epoch in epochs]
    assert all(len(set(order)) == 20 for order in orders)
    assert orders[0] != orders[1]
    for batch in epochs[0]:
        assert batch.images.shape == (5, 1, 2, 3)
        torch.testing.assert_close(batch.images[:, 0, 1, 2], batch.labels / 255)


def test_fewer_images_than_a_batch_are_one_batch():
    batches = ImageBatches(some_images(3), 7, seed=0)
    assert len(batches) == 1
    assert sorted(next(batches).labels.tolist()) == [0, 1, 2]


@pytest.mark.parametrize("binarise", [False, True])
def test_a_restored_stream_goes_on_with_the_same_batches(binarise):
    def make():
        return ImageBatches(some_images(23), 5, seed=3, binarise=binarise)

    uninterrupted, restored = make(), make()
    for _ in range(6):
        next(uninterrupted)
    state = uninterrupted.state_dict()
    restored.load_state_dict(state)
    for _ in range(5):
        one, other = next(uninterrupted), next(restored)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    with pytest.raises(ValueError, match="has seed 3, not 4"):
        ImageBatches(some_images(23), 5, seed=4, binarise=binarise).load_state_dict(state)


def test_a_training_batch_is_drawn_anew_at_every_reading():
    images = Images(torch.full((7, 1, 31, 37), 64, dtype=torch.uint8), torch.zeros(7, dtype=torch.long))
    batches = ImageBatches(images, 7, seed=3, binarise=True)
    one, other = next(batches).images, next(batches).images
    assert set(one.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(one, other)
    # 64/255 = 0.251 of 8,029 pixels each, standard error 0.005
    assert float(one.mean()) == pytest.approx(0.251, abs=0.02)
    assert float((one * other).mean()) == pytest.approx(0.251**2, abs=0.02)


def test_drawing_leaves_torchs_own_random_state_alone():
    batches = ImageBatches(some_images(23), 5, seed=3, binarise=True)
    before = torch.get_rng_state()
    next(batches)
    assert torch.equal(before, torch.get_rng_state())


def test_batches_of_nothing_are_refused():
    with pytest.raises(ValueError, match="no images"):
        ImageBatches(some_images(0), 5, seed=0)
    with pytest.raises(ValueError, match="a batch size of 0"):
        ImageBatches(some_images(3), 0, seed=0)


def test_in_order_visits_all_as_they_stand():
    batches = list(in_order(some_images(7), 3))
    assert [batch.labels.tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert all(isinstance(batch, Batch) for batch in batches)


def test_fewer_large_images_are_held_at_a_time():
    for shape, expected in (((1, 28, 28), 500), ((3, 32, 32), 500), ((3, 64, 64), 125), ((3, 4096, 4096), 1)):
        assert at_a_time(500, shape) == expected
    images = Images(torch.zeros(7, 3, 64, 64, dtype=torch.uint8), torch.arange(7))
    assert [batch.labels.tolist() for batch in in_order(images, 12)] == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.cuda
def test_images_stay_on_the_gpu():
    batch = next(ImageBatches(some_images(23), 5, seed=3, binarise=True, device="cuda"))
    assert batch.images.is_cuda
    assert batch.labels.is_cuda
