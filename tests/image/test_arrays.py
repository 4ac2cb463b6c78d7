"""Images and labels of NumPy's files."""

import io
import zipfile

import numpy as np
import pytest

from seqgen.core.errors import UserError
from seqgen.image.data import files
from seqgen.image.data.dataset import open_images
from seqgen.image.data.files import ReadOptions

N, H, W = 11, 5, 7


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    return str(tmp_path / "a.npz")


def train(spec, **options):
    """Return the training images and labels of a file."""
    return files.read(spec, ReadOptions(**options)).splits["train"]


def test_images_and_their_labels_are_x_and_y(tmp_path):
    x, y = noise(N, H, W), np.arange(N) % 3
    pixels, labels = train(saved(tmp_path, x=x, y=y))
    assert np.array_equal(pixels, x[:, None])
    assert labels.tolist() == y.tolist()
    assert train(saved(tmp_path, x=x))[1].tolist() == [-1] * N


@pytest.mark.parametrize("compress", [np.savez, np.savez_compressed])
def test_splits_are_words_of_the_keys(tmp_path, compress):
    parts = {name: noise(n, H, W, 3, seed=n) for name, n in (("train", 11), ("val", 3), ("test", 2))}
    images = {f"{name}_images": array for name, array in parts.items()}  # the names of MedMNIST
    labels = {f"{name}_labels": np.zeros((len(array), 1), np.uint8) for name, array in parts.items()}
    compress(tmp_path / "a.npz", **images, **labels)
    splits = files.read(str(tmp_path / "a.npz")).splits
    assert splits.keys() == {"train", "valid", "test"}
    assert np.array_equal(splits["valid"][0], parts["val"].transpose(0, 3, 1, 2))
    assert splits["test"][1].tolist() == [0, 0]
    compress(tmp_path / "a.npz", x_train=parts["train"], y_train=np.arange(11), x_test=parts["test"])
    splits = files.read(str(tmp_path / "a.npz")).splits  # the names of Keras
    assert splits["train"][1].tolist() == list(range(11))
    assert splits["test"][1].tolist() == [-1, -1]


def test_a_folder_of_files_is_one_data_set(tmp_path):
    for name, n in (("train", 11), ("test", 2)):
        np.save(tmp_path / f"x_{name}.npy", noise(n, H, W, seed=n))
        np.save(tmp_path / f"y_{name}.npy", np.arange(n))
    splits = files.read(str(tmp_path)).splits
    assert {name: len(labels) for name, (_, labels) in splits.items()} == {"train": 11, "test": 2}
    assert splits["test"][1].tolist() == [0, 1]
    (tmp_path / "other").mkdir()
    for name, n in (("train", 11), ("test", 2)):
        np.savez(tmp_path / f"other/{name}.npz", x=noise(n, H, W, seed=n))
    assert len(files.read(str(tmp_path / "other")).splits["test"][0]) == 2
    np.save(tmp_path / "faces.npy", noise(N, H, W))
    assert np.array_equal(train(str(tmp_path / "faces.npy"))[0][:, 0], noise(N, H, W))


def test_every_order_of_axes(tmp_path):
    x = noise(N, H, W, 3)
    expected = x.transpose(0, 3, 1, 2)
    for array in (x, expected, np.asfortranarray(x), x.astype(">u2"), x.astype(np.int64)):
        assert np.array_equal(train(saved(tmp_path, x=array))[0], expected)
    assert np.array_equal(train(saved(tmp_path, x=x[..., :1]))[0], expected[:, :1])
    grey = np.repeat(x[..., :1], 3, axis=3)
    assert train(saved(tmp_path, x=grey))[0].shape == (N, 1, H, W)


def test_transparency_lies_on_the_background(tmp_path):
    x = np.full((N, H, W, 4), 100, np.uint8)
    x[..., 3] = 51
    # a fifth of 100 and four fifths of 255 or 0
    assert (train(saved(tmp_path, x=x))[0] == 224).all()
    assert (train(saved(tmp_path, x=x), background="black")[0] == 20).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0.0, 0.25, 1.0]), [0, 64, 255]),
        (np.array([0.0, 99.6, 255.0], np.float32), [0, 100, 255]),
        (np.array([False, True, True]), [0, 255, 255]),
        (np.array([0, 1, 1], np.uint8), [0, 255, 255]),
        (np.array([0, 257, 65_535], np.uint16), [0, 1, 255]),
        (np.array([0, 2, 255], np.int32), [0, 2, 255]),
    ],
)
def test_numbers_are_scaled_by_their_range(tmp_path, values, expected):
    pixels, _ = train(saved(tmp_path, x=np.broadcast_to(values[:, None, None], (3, H, W))))
    assert pixels[:, 0, 0, 0].tolist() == expected


def test_all_splits_have_one_scale(tmp_path):
    dark = np.full((N, H, W), 0.5)  # alone it would be taken for shares of white
    splits = files.read(saved(tmp_path, x_train=np.full((N, H, W), 200.0), x_test=dark)).splits
    assert splits["test"][0].max() <= 1


def test_labels_may_be_words_or_have_gaps(tmp_path):
    x = noise(N, H, W)
    words = np.array(["dog", "cat", "owl"])[np.arange(N) % 3]
    data = open_images(saved(tmp_path, x=x, y=words))
    assert data.names == ("cat", "dog", "owl")
    source = files.read(saved(tmp_path, x=x, y=words))
    assert source.splits["train"][1].tolist() == [[1, 0, 2][i % 3] for i in range(N)]
    letters = np.arange(N) % 4 + 1  # as EMNIST counts
    source = files.read(saved(tmp_path, x=x, y=letters))
    assert source.names == ["1", "2", "3", "4"]
    assert source.splits["train"][1].tolist() == (letters - 1).tolist()
    source = files.read(saved(tmp_path, x=x, y=np.array([900, -1, 7] * 3 + [7, 7])))
    assert source.names == ["7", "900"]
    assert source.splits["train"][1].tolist() == [1, -1, 0] * 3 + [0, 0]


def test_labels_by_the_name_of_their_array(tmp_path):
    spec = saved(tmp_path, x=noise(N, H, W), y=np.zeros(N, int), coarse=np.arange(N) % 2)
    assert train(spec)[1].tolist() == [0] * N
    assert train(spec, label_column="coarse")[1].tolist() == [i % 2 for i in range(N)]
    with pytest.raises(
        UserError, match=r"no array 'course' for --label-column; the arrays are .*a.npz, x.npy"
    ):
        train(spec, label_column="course")
    parts = {"x_train": noise(N, H, W), "coarse_train": np.arange(N), "x_test": noise(2, H, W)}
    spec = saved(tmp_path, **parts, coarse_test=np.arange(2), y_test=np.ones(2, int))
    splits = files.read(spec, ReadOptions(label_column="coarse")).splits
    assert splits["train"][1].tolist() == list(range(N))
    assert splits["test"][1].tolist() == [0, 1]


def test_images_are_scaled_to_a_size(tmp_path):
    assert train(saved(tmp_path, x=noise(N, H, W, 3)), size=3)[0].shape == (N, 3, 3, 3)


class Written:
    """A Python object that writes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_is_unpickled(tmp_path):
    array = np.empty(2, object)
    array[:] = [Written(tmp_path / "written"), 0]
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=r"a.npy' holds Python objects, which are never loaded"):
        files.read(str(tmp_path / "a.npy"))
    assert not (tmp_path / "written").exists()


def with_head(head: bytes) -> bytes:
    """Return a file of .npy of the first version with these bytes as its head."""
    return b"\x93NUMPY\x01\0" + len(head).to_bytes(2, "little") + head + bytes(N * H * W)


@pytest.mark.parametrize(
    "head",
    [
        b"{'descr': '|u1', (",
        b"{'descr': '|u1', 'shape':\n 3 3}",
        b"\xff",
        b"{'descr': '|u1'}",
        b"{'a': 1, b'b': 2}",
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_damaged_head_is_one_line(tmp_path, head, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(with_head(head))
    if suffix == "npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", with_head(head))
    with pytest.raises(UserError, match="is not a NumPy array") as error:
        files.read(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("error")
def test_a_head_of_python_2_is_read_without_a_warning(tmp_path):
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({N}L, {H}L, {W}L)}}"
    (tmp_path / "a.npy").write_bytes(with_head(head.encode()))
    assert train(str(tmp_path / "a.npy"))[0].shape == (N, 1, H, W)


def test_a_name_in_an_archive_that_is_no_text_is_one_line(tmp_path):
    spec = saved(tmp_path, x=noise(N, H, W), été=noise(N, H, W))
    content = (tmp_path / "a.npz").read_bytes()
    at = content.index("été".encode())  # the name beside the array; the directory at the end has it too
    (tmp_path / "a.npz").write_bytes(content[:at] + b"\xfc" + content[at + 1 :])
    with pytest.raises(UserError, match="is not a complete"):
        files.read(spec)


def test_an_array_takes_the_memory_of_its_bytes_not_of_those_it_claims(tmp_path):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"shape": (10**9, 8, 8), "fortran_order": False, "descr": "|u1"}
    )
    (tmp_path / "a.npy").write_bytes(stream.getvalue() + bytes(71))
    with pytest.raises(UserError, match="is not complete: it says"):
        files.read(str(tmp_path / "a.npy"))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", stream.getvalue() + bytes(71))
    with pytest.raises(UserError, match="is not complete: it says"):
        files.read(str(tmp_path / "a.npz"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((N, H, W, 2), np.uint8)}, r"x.npy' has the shape \(11, 5, 7, 2\); images are \(N, H"),
        ({"x": np.zeros((N, H * W))}, r"x.npy' is float64 of shape \(11, 35\); images are numbers"),
        ({"x": np.full((N, H, W), np.nan)}, "has numbers from nan to nan; give 0 for black"),
        ({"x": np.full((N, H, W), -1)}, "has numbers from -1 to -1; give 0 for black"),
        ({"x": np.full((N, H, W), 300.0)}, "numbers up to 300; give bytes"),
        ({"x": np.full((N, H, W), 70_000)}, "numbers up to 70000; give bytes"),
        (
            {"x": noise(N, H, W), "y": np.zeros(5, int)},
            r"y.npy' has the shape \(5,\), and .*x.npy' 11 images",
        ),
        ({"x": noise(N, H, W), "y": np.full(N, 0.5)}, "labels of type float64; give whole numbers or words"),
        ({"y": np.zeros(5, int)}, "no images to train on among the arrays .*y.npy; call them x and"),
        ({"x_train": noise(N, H, W), "images_train": noise(N, H, W)}, "are both images to train; keep one"),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message):
        files.read(saved(tmp_path, **arrays))


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
def test_damaged_files_are_an_error(tmp_path, name):
    if name == "a.npz":
        content = (tmp_path / "a.npz").read_bytes() if saved(tmp_path, x=noise(N, H, W)) else b""
    else:
        np.save(tmp_path / "a.npy", noise(N, H, W))
        content = (tmp_path / "a.npy").read_bytes()
    for damaged in (b"no array", content[:-40], content[: len(content) // 3], b""):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(UserError, match=rf"{name}.* is not (a|complete)"):
            files.read(str(tmp_path / name))
