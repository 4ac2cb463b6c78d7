"""Images read from IDX files, folders of pictures, and sources of any kind alike."""

import gzip
import io
import struct
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from image_helpers import H, W, encoded, pixels, write_parquet
from PIL import Image

from seqgen.core.errors import UserError
from seqgen.image.data import files
from seqgen.image.data.dataset import open_images
from seqgen.image.data.pictures import ReadOptions


def idx(values):
    head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.tobytes()


def write_idx(folder, *, train=23, test=11, zipped=True):
    for name, n in (("train", train), ("t10k", test)):
        values = pixels(n, seed=n)[:, 0]
        labels = np.arange(n, dtype=np.uint8) % 3
        for kind, array in ((f"{name}-images-idx3-ubyte", values), (f"{name}-labels-idx1-ubyte", labels)):
            path = folder / (kind + ".gz" * zipped)
            path.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    return folder


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_are_read_whole(tmp_path, zipped):
    data = open_images(str(write_idx(tmp_path, zipped=zipped)))
    assert (len(data.train), len(data.valid), len(data.test)) == (22, 1, 11)
    assert data.shape == (1, H, W)
    assert np.array_equal(data.test.pixels.numpy(), pixels(11, seed=11))
    assert data.test.labels.tolist() == [i % 3 for i in range(11)]
    assert data.classes == 3


def test_a_file_is_taken_in_place_of_its_gz_beside_it(tmp_path):
    write_idx(tmp_path, zipped=True)  # torchvision leaves both in MNIST/raw
    for path in sorted(tmp_path.glob("*.gz")):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.write_bytes(b"not read")
    splits = files.read(str(tmp_path)).splits
    assert np.array_equal(splits["train"][0], pixels(23, seed=23))


def test_labels_from_1_are_numbered_from_0_and_keep_their_names(tmp_path):
    write_idx(tmp_path, zipped=False)
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(idx(np.array([1, 2, 26, 4, 1] * 4 + [1, 2, 4], np.uint8)))  # as EMNIST's letters
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.array([26] * 11, np.uint8)))
    data = open_images(str(tmp_path), without="26")
    assert (data.names, data.classes) == (("1", "2", "4", "26"), 4)
    assert set(data.train.labels.tolist()) == {0, 1, 2}
    assert data.test.labels.tolist() == [3] * 11
    assert open_images(str(tmp_path)).hash == data.hash


def test_numbers_that_are_no_labels_are_refused(tmp_path, monkeypatch):
    write_idx(tmp_path, zipped=False)
    monkeypatch.setattr(files, "MOST_CLASSES", 2)
    with pytest.raises(UserError, match="has 3 different labels from 0 on; a label is a number from 0 on or"):
        open_images(str(tmp_path))


def test_every_source_is_scaled_to_a_size(tmp_path):
    (tmp_path / "idx").mkdir()
    write_idx(tmp_path / "idx")
    (tmp_path / "parquet").mkdir()
    write_parquet(tmp_path / "parquet/train.parquet", 13)
    for spec, channels in ((tmp_path / "idx", 1), (tmp_path / "parquet", 3), ("digits", 1)):
        for part, _ in files.read(str(spec), ReadOptions(size=3)).splits.values():
            assert part.shape[1:] == (channels, 3, 3)
    write_pictures(tmp_path / "mixed", ["a.png", "b.png"])
    two_sizes(tmp_path / "mixed")
    two_sizes_of_splits(tmp_path / "splits")
    assert files.read(str(tmp_path / "mixed"), ReadOptions(size=3)).splits["train"][0].shape == (3, 1, 3, 3)
    assert open_images_shape(tmp_path / "splits") == {"train": (1, 1, 3, 3), "test": (1, 1, 3, 3)}


def open_images_shape(folder):
    return {
        name: part.shape for name, (part, _) in files.read(str(folder), ReadOptions(size=3)).splits.items()
    }


def test_mnist_is_mnist(data_dir):
    data = open_images(str(data_dir / "mnist"))
    assert (len(data.train), len(data.valid), len(data.test)) == (57_000, 3_000, 10_000)
    assert data.shape == (1, 28, 28)
    # the known mean of the training pixels, 0.1307
    pixels_of_both = torch.cat([data.train.pixels, data.valid.pixels])
    assert float(pixels_of_both.float().mean()) / 255 == pytest.approx(0.1307, abs=1e-4)
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]


def write_pictures(folder, layout, *, channels=1):
    for number, name in enumerate(layout):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(pixels(1, channels, seed=number)[0].transpose(1, 2, 0).squeeze()))
    return folder


def test_folders_of_pictures_are_labels(tmp_path):
    write_pictures(tmp_path, ["dog/a.png", "cat/a.png", "cat/b.png", "cat/.hidden.png"])
    (tmp_path / "README.txt").write_text("not a picture")
    ((train, labels),) = files.read(str(tmp_path)).splits.values()
    # sorted by path: cat/a (written second), cat/b, dog/a
    assert np.array_equal(train[0, 0], pixels(1, seed=1)[0, 0])
    assert labels.tolist() == [0, 0, 1]


def test_labels_are_in_the_order_of_numbers_and_known_by_their_folders(tmp_path):
    layout = [f"{label}/{name}.png" for label in (0, 2, 10) for name in "abcde"]
    data = open_images(str(write_pictures(tmp_path / "n", layout)), without=10)
    assert data.names == ("0", "2", "10")
    assert set(data.train.labels.tolist()) <= {0, 1}  # 10 is the third, though "10" < "2"
    animals = str(write_pictures(tmp_path / "a", [f"{x}/{y}.png" for x in ("cat", "dog") for y in "abcde"]))
    assert set(open_images(animals, without="cat").train.labels.tolist()) == {1}
    with pytest.raises(UserError, match="no label 'cow'; the labels are cat, dog"):
        open_images(animals, without="cow")


def test_a_picture_beside_the_folders_of_splits_is_named(tmp_path):
    write_pictures(tmp_path, ["Train/0/a.png", "Train/1/b.png", "Test/0/c.png"])
    assert files.read(str(tmp_path)).splits.keys() == {"train", "test"}
    write_pictures(tmp_path, ["preview.png"])
    with pytest.raises(UserError, match=r"preview.png' is in none of them; move it into one, or away"):
        files.read(str(tmp_path))


def test_pictures_without_folders_have_no_labels(tmp_path):
    data = open_images(str(write_pictures(tmp_path, ["a.png", "b.png", "c.png", "d.png", "e.png"])))
    assert data.classes == 0
    assert set(data.train.labels.tolist()) == {-1}
    with pytest.raises(UserError, match="no label '0': the images have no labels"):
        open_images(str(tmp_path), without=0)


def test_folders_named_after_splits_are_splits(tmp_path):
    layout = ["train/x/a.png", "train/y/b.png", "test/y/c.png", "valid/x/d.png"]
    splits = files.read(str(write_pictures(tmp_path, layout))).splits
    assert {name: labels.tolist() for name, (_, labels) in splits.items()} == {
        "train": [0, 1],
        "test": [1],
        "valid": [0],
    }


def test_grey_among_colour_becomes_colour(tmp_path):
    write_pictures(tmp_path, ["a.png"])
    write_pictures(tmp_path, ["b.png"], channels=3)
    ((train, _),) = files.read(str(tmp_path)).splits.values()
    assert train.shape == (2, 3, H, W)
    assert np.array_equal(train[0, 0], train[0, 2])


def corrupt_idx(folder):
    path = write_idx(folder, zipped=False) / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-3])


def cut_gzip(folder):
    path = write_idx(folder) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-30])


def not_idx(folder):
    (write_idx(folder, zipped=False) / "train-images-idx3-ubyte").write_bytes(b"hello world, this is text")


def other_labels(folder):
    (write_idx(folder, zipped=False) / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(4, np.uint8)))


def no_images(folder):
    (write_idx(folder, zipped=False) / "train-images-idx3-ubyte").write_bytes(
        idx(np.zeros((0, H, W), np.uint8))
    )


def only_test(folder):
    for path in write_idx(folder).glob("train*"):
        path.unlink()


def twice(folder):
    write_idx(folder, zipped=False)
    (folder / "other").mkdir()
    write_idx(folder / "other", zipped=True)


def two_sizes(folder):
    write_pictures(folder, ["a.png", "b.png"])
    (folder / "c.png").write_bytes(encoded(np.zeros((H, W + 1), np.uint8)))


def two_sizes_of_splits(folder):
    write_pictures(folder, ["train/a.png"])
    (folder / "test").mkdir()
    (folder / "test/c.png").write_bytes(encoded(np.zeros((H + 2, W), np.uint8)))


def torn_picture(folder):
    path = write_pictures(folder, ["a.png", "b.png"]) / "b.png"
    path.write_bytes(path.read_bytes()[:40])


def tiff_of_many_samples(folder):
    sink = io.BytesIO()
    Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(sink, "TIFF")
    samples = struct.pack("<HHI", 277, 3, 1)  # tag 277, one number of 16 bits, 3
    assert samples in sink.getvalue()
    changed = sink.getvalue().replace(samples + struct.pack("<H", 3), samples + struct.pack("<H", 2048))
    (folder / "a.png").write_bytes(changed)


def float_picture(folder):
    Image.fromarray(np.full((H, W), 255, np.float32)).save(folder / "a.tiff")


def empty(folder):
    (folder / "notes.txt").write_text("nothing")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (corrupt_idx, "train-images-idx3-ubyte' holds 802 bytes of values, not 805"),
        (cut_gzip, "train-images-idx3-ubyte.gz is damaged or no gzip file"),
        (not_idx, "is not an IDX file of bytes in 3 dimensions"),
        (other_labels, "has 23 images and .* 4 labels"),
        (no_images, "is empty: its size is"),
        (only_test, "has no training images"),
        (twice, "has both '.*/other/train-images-idx3-ubyte.gz' and '.*/train-images-idx3-ubyte'; give the"),
        (
            two_sizes,
            r"a.png' is 7×5 pixels and '.*c.png' 8×5; all images must be of one size, so give --size N",
        ),
        (two_sizes_of_splits, "training images of 7×5 pixels and test images of 7×7; all .* --size N"),
        (torn_picture, "b.png' is not a picture by its content"),
        (tiff_of_many_samples, "a.png' is not a picture by its content"),
        (float_picture, r"a.tiff' has pixels from 255 to 255; they must be from 0 to 1, so scale them"),
        (empty, "holds no images; looked for IDX files"),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(UserError, match=message):
        open_images(str(tmp_path))


def test_too_few_images_are_refused(tmp_path):
    write_pictures(tmp_path, ["a.png", "b.png"])
    with pytest.raises(UserError, match="has 2 training images; give 3 or more"):
        open_images(str(tmp_path))


def test_an_idx_file_takes_the_memory_of_its_bytes_not_of_those_it_claims(tmp_path):
    head = struct.pack(">HBBIII", 0, 8, 3, 2_000, 1_000, 1_000)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(head + bytes(471))
    tracemalloc.start()
    with pytest.raises(UserError, match="holds 471 bytes of values, not 2,000,000,000"):
        files.read(str(tmp_path))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 50e6


@pytest.mark.parametrize(
    "sizes",
    [
        (1 << 22, 1 << 22, 1 << 20),
        (1 << 31, 1 << 31, 4),
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (1 << 21, 1 << 10, 2),
    ],
)
def test_idx_sizes_that_overflow_are_refused_before_anything_is_read(tmp_path, sizes):
    """The product of the first is 2⁶⁴, which 64 bits take for 0."""
    path = write_idx(tmp_path, zipped=False) / "train-images-idx3-ubyte"
    path.write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", *sizes))
    with pytest.raises(UserError, match=r"idx3-ubyte' holds [\d,]+ bytes of pixels; at most 2,147,483,648"):
        open_images(str(tmp_path))


def bomb(side):
    """Return a PNG of side × side black pixels in a few kB."""
    return encoded(np.zeros((side, side), np.uint8))


@pytest.mark.parametrize("side", [5_000, 20_000])
def test_a_picture_bomb_is_refused(tmp_path, side, recwarn):
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(bomb(side) if side < 10_000 else head_of_a_bomb(side))
    with pytest.raises(
        UserError, match=r"a\.png' has more than 16,777,216 pixels; scale it down or remove it"
    ):
        open_images(str(tmp_path))
    assert not recwarn.list


def head_of_a_bomb(side):
    """Return a PNG that says it has side × side pixels and holds none."""
    start = bytearray(bomb(8))
    start[16:24] = struct.pack(">2I", side, side)
    start[29:33] = struct.pack(">I", zlib.crc32(start[12:29]))
    return bytes(start)


def test_only_pictures_are_decoded_whatever_their_name(tmp_path):
    """Pillow would have Ghostscript run this program."""
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 7 5\n%%EndComments\nshowpage\n"
    (tmp_path / "a.png").write_bytes(program)
    with pytest.raises(UserError, match=r"a\.png' is not a picture by its content"):
        open_images(str(tmp_path))


def test_what_pillow_logs_of_a_bad_picture_is_not_a_second_line(tmp_path):
    tiff_of_many_samples(tmp_path)
    code = "import sys; from seqgen.image.data import files; files.read(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert "UserError" in done.stderr
    assert "More samples" not in done.stderr
