"""Folders of pictures: what is read, links, and the split and the label of each picture."""

import numpy as np
import pytest
from PIL import Image

from seqgen.core.errors import UserError
from seqgen.image.data import files
from seqgen.image.data.dataset import open_images
from seqgen.image.data.folders import files_in, split_of

H, W = 5, 7


def write(folder, *names):
    """Write pictures of noise, and return the folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(list(name.encode()))
        Image.fromarray(rng.integers(0, 256, (H, W), np.uint8)).save(path)
    return folder


def labels(folder):
    """Return the names of the labels of each split."""
    source = files.read(str(folder))
    return {
        name: [source.names[label] if label >= 0 else None for label in numbers.tolist()]
        for name, (_, numbers) in source.splits.items()
    }


def test_hidden_folders_and_what_archives_leave_are_no_labels(tmp_path):
    write(tmp_path, "cat/a.png", "dog/b.png", "dog/.b.png")
    write(tmp_path, ".ipynb_checkpoints/a.png", "cat/.ipynb_checkpoints/a.png", "__MACOSX/cat/a.png")
    assert labels(tmp_path) == {"train": ["cat", "dog"]}


def test_linked_folders_and_files_are_followed(tmp_path):
    elsewhere = write(tmp_path / "elsewhere", "cat/a.png", "cat/deep/b.png", "single.png")
    folder = write(tmp_path / "data", "dog/c.png")
    (folder / "cat").symlink_to(elsewhere / "cat")
    (folder / "dog/d.png").symlink_to(elsewhere / "single.png")
    (folder / "dog/again").symlink_to(folder)  # it would never end
    assert labels(folder) == {"train": ["cat", "cat/deep", "dog", "dog"]}
    (elsewhere / "cat").rename(elsewhere / "gone")
    with pytest.raises(
        UserError, match=r"data/cat' is a link to '.*elsewhere/cat', which is not there; bring"
    ):
        files.read(str(folder))


def test_files_are_in_the_order_of_their_paths(tmp_path):
    write(tmp_path, "b/a.png", "a/b.png", "a/a.png", "a-b/a.png")
    assert [str(path.relative_to(tmp_path)) for path in files_in(tmp_path)] == [
        "a/a.png",
        "a/b.png",
        "a-b/a.png",
        "b/a.png",
    ]


def test_pictures_beside_the_folders_of_labels_are_named(tmp_path):
    write(tmp_path, "cat/a.png", "dog/b.png", "loose.png")
    with pytest.raises(UserError, match=r"loose.png' lies beside folders of pictures, .* move it into"):
        files.read(str(tmp_path))
    write(tmp_path, "other.png")
    with pytest.raises(UserError, match=r"loose.png' and 1 more lies beside"):
        files.read(str(tmp_path))


def test_a_split_without_folders_has_no_labels(tmp_path):
    write(tmp_path, "train/cat/a.png", "train/dog/b.png", "test/c.png", "test/d.png")
    assert labels(tmp_path) == {"test": [None, None], "train": ["cat", "dog"]}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("splits_training", "train"),
        ("train2017", "train"),
        ("seg_test", "test"),
        ("val", "valid"),
        ("Validation-images", "valid"),
        ("trainA", None),
        ("contest", None),
        ("train_and_test", None),
    ],
)
def test_a_name_says_its_split_in_a_word(name, split):
    assert split_of(name) == split


def test_torchvisions_image_folder_is_read_with_train_and_val(tmp_path):
    names = [f"train/{label}/{i}.png" for label in ("cat", "dog") for i in range(5)]
    write(tmp_path, *names, "val/cat/x.png", "val/dog/y.png", "val/dog/z.png")
    data = open_images(str(tmp_path))
    assert (len(data.train), len(data.valid), len(data.test)) == (8, 3, 2)
    assert data.names == ("cat", "dog")
    assert data.valid.labels.tolist() == [0, 1, 1]


def test_one_folder_around_everything_is_looked_through(tmp_path):
    write(tmp_path, "archive/data/Training/cat/a.png", "archive/data/Testing/cat/b.png")
    assert labels(tmp_path) == {"test": ["cat"], "train": ["cat"]}
    write(tmp_path / "single", "good/a.png", "good/b.png")
    assert labels(tmp_path / "single") == {"train": ["good", "good"]}


def test_folders_named_as_splits_among_others_are_labels(tmp_path):
    write(tmp_path, "bus/a.png", "train/b.png")
    assert labels(tmp_path) == {"train": ["bus", "train"]}


def test_two_folders_of_one_split_are_refused(tmp_path):
    write(tmp_path, "train_images/a.png", "train_masks/a.png")
    with pytest.raises(UserError, match="two folders of images to train, 'train_images' and 'train_masks'"):
        files.read(str(tmp_path))


def test_masks_of_mvtec_are_left_out_and_said(tmp_path):
    write(tmp_path, "train/good/a.png", "test/good/b.png", "test/crack/c.png", "ground_truth/crack/c.png")
    assert labels(tmp_path) == {"test": ["crack", "good"], "train": ["good"]}
    assert files.read(str(tmp_path)).facts == ("1 masks in ground_truth left out",)


def test_folders_without_pictures_are_named(tmp_path):
    write(tmp_path, *(f"train/{label}/{i}.png" for label in ("cat", "dog") for i in range(5)))
    (tmp_path / "train/{cow}").mkdir()
    (tmp_path / "train/owl").mkdir()
    (tmp_path / "train/owl/notes.txt").write_text("none yet")
    write(tmp_path, "test/cat/a.png", "test/fox/a.png")
    data = open_images(str(tmp_path))
    assert data.names == ("cat", "dog", "fox")
    assert data.facts == (
        "no pictures in train/owl",
        "no pictures in train/{cow}",
        "no training images of label fox",
    )


def test_a_column_of_labels_needs_columns(tmp_path):
    write(tmp_path, "a.png")
    for spec in (str(tmp_path), "digits"):
        with pytest.raises(UserError, match="has no columns, of which --label-column fine names one"):
            files.read(spec, files.ReadOptions(label_column="fine"))
