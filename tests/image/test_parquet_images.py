"""Images of Parquet files and of the hub: columns, labels, what is refused, and bounded memory."""

import numpy as np
import pyarrow
import pytest
from image_helpers import encoded, pixels, write_parquet
from PIL import Image
from pyarrow import parquet

from seqgen.core.errors import UserError
from seqgen.image.data import files, parquet_images
from seqgen.image.data.dataset import open_images
from seqgen.image.data.pictures import ReadOptions


def test_a_picture_that_stands_for_many_rows_is_not_held_many_times(tmp_path):
    side = 1501  # of noise, 2 MB a row, 600 MB if all rows were decoded at once
    noise = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
    row = pyarrow.array([{"bytes": encoded(noise), "path": None}])
    rows = pyarrow.concat_arrays([row] * 300)
    parquet.write_table(pyarrow.table({"img": rows}), tmp_path / "train.parquet", compression="zstd")
    assert (tmp_path / "train.parquet").stat().st_size < 5e6
    before = pyarrow.total_allocated_bytes()
    most = []

    def decode(cells, *_):
        for _ in cells:
            most.append(pyarrow.total_allocated_bytes() - before)
        return pixels(len(most), seed=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_images, "decode_pictures", decode)
        files.read(str(tmp_path))
    assert len(most) == 300
    assert max(most) < 200e6


def test_cifar_is_read_from_the_hubs_files(data_dir):
    data = open_images(str(data_dir / "cifar10"))
    assert data.shape == (3, 32, 32)
    assert data.classes == 10
    assert (len(data.train) + len(data.valid), len(data.test)) == (10_000, 2_000)


@pytest.mark.parametrize(("column", "channels"), [("img", 3), ("image", 1)])
def test_parquet_files_are_read_in_the_hubs_schema(tmp_path, column, channels):
    write_parquet(tmp_path / "train-00000-of-00002.parquet", 7, column=column, channels=channels)
    write_parquet(tmp_path / "train-00001-of-00002.parquet", 13, column=column, channels=channels)
    write_parquet(tmp_path / "test-00000-of-00001.parquet", 5, column=column, channels=channels)
    splits = files.read(str(tmp_path)).splits
    expected = np.concatenate([pixels(7, channels, seed=7), pixels(13, channels, seed=13)])
    assert np.array_equal(splits["train"][0], expected)
    assert splits["test"][1].tolist() == [0, 1, 2, 3, 0]


def write_table(path, **columns):
    """Write a table with a picture a row beside other columns."""
    n = len(next(iter(columns.values())))
    cells = [{"bytes": encoded(pixels(1, seed=i)[0, 0]), "path": None} for i in range(n)]
    parquet.write_table(pyarrow.table({"picture": cells, **columns}), path)


def test_labels_are_of_the_column_named_or_of_a_usual_name(tmp_path):
    columns = {"coarse_label": [2, 2, 5, 2, 5], "fine": ["cat", "dog", "owl", "cat", "owl"], "n": [0] * 5}
    write_table(tmp_path / "train.parquet", **columns)
    read = {name: files.read(str(tmp_path), ReadOptions(label_column=name)) for name in (None, *columns)}
    assert read[None].splits["train"][1].tolist() == [-1] * 5
    assert read["coarse_label"].splits["train"][1].tolist() == [0, 0, 1, 0, 1]
    assert read["coarse_label"].names == ["2", "5"]
    assert read["fine"].splits["train"][1].tolist() == [0, 1, 2, 0, 2]
    assert read["fine"].names == ["cat", "dog", "owl"]
    with pytest.raises(UserError, match=r"no column 'fin' for --label-column; did you mean 'fine'"):
        files.read(str(tmp_path), ReadOptions(label_column="fin"))
    write_table(tmp_path / "train.parquet", labels=[1, 0, 1])
    assert files.read(str(tmp_path)).splits["train"][1].tolist() == [1, 0, 1]
    dictionary = pyarrow.array(["b", "a", "b"]).dictionary_encode()
    write_table(tmp_path / "train.parquet", label=dictionary)
    assert files.read(str(tmp_path)).names == ["a", "b"]


def test_a_table_may_hold_bytes_alone_and_its_folder_names_the_split(tmp_path):
    for folder, n in (("default/splits_training", 5), ("default/val", 3)):
        (tmp_path / folder).mkdir(parents=True)
        cells = [encoded(pixels(1, seed=i)[0, 0]) for i in range(n)]
        parquet.write_table(pyarrow.table({"content": cells}), tmp_path / folder / "0000.parquet")
    splits = files.read(str(tmp_path)).splits
    assert {name: len(labels) for name, (_, labels) in splits.items()} == {"train": 5, "valid": 3}
    assert np.array_equal(splits["train"][0][3], pixels(1, seed=3)[0])


def test_a_column_may_have_an_empty_name(tmp_path):
    cells = [{"bytes": encoded(pixels(1, seed=i)[0, 0]), "path": None} for i in range(7)]
    parquet.write_table(pyarrow.table({"": cells}), tmp_path / "train.parquet")
    ((found, labels),) = files.read(str(tmp_path)).splits.values()
    assert len(found) == 7
    assert set(labels.tolist()) == {-1}


def test_a_name_of_the_hub_is_read_through_datasets(tmp_path, monkeypatch):
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=4)})
    for split, n in (("train", 7), ("test", 5)):
        images = [Image.fromarray(each[0]) for each in pixels(n, seed=n)]
        rows = {"image": images, "label": [i % 4 for i in range(n)]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / f"{split}.parquet"))
    monkeypatch.setitem(files.HUB, "mnist", str(tmp_path))
    splits = files.read("mnist").splits
    assert np.array_equal(splits["train"][0], pixels(7, seed=7))
    assert splits["test"][1].tolist() == [0, 1, 2, 3, 0]


def torn_parquet(folder):
    write_parquet(folder / "train.parquet", 7)
    (folder / "train.parquet").write_bytes((folder / "train.parquet").read_bytes()[:-9])


def parquet_of_no_utf8(folder):
    write_parquet(folder / "train.parquet", 7)
    content = (folder / "train.parquet").read_bytes()
    (folder / "train.parquet").write_bytes(content.replace(b"label", b"lab\xe7l"))


def labels_of_no_utf8(folder):
    cells = [{"bytes": encoded(pixels(1)[0, 0]), "path": None}] * 3
    words = pyarrow.array(["cat", "dog", "cow"])
    parquet.write_table(
        pyarrow.table({"img": cells, "label": words}), folder / "train.parquet", compression="none"
    )
    content = (folder / "train.parquet").read_bytes()
    (folder / "train.parquet").write_bytes(content.replace(b"dog", b"d\xffg"))


def parts_of_no_utf8(folder):
    write_parquet(folder / "train.parquet", 7)
    content = (folder / "train.parquet").read_bytes()
    (folder / "train.parquet").write_bytes(content.replace(b"path", b"p\xffth"))


def no_pictures_in_parquet(folder):
    parquet.write_table(pyarrow.table({"text": ["a"], "label": [0]}), folder / "train.parquet")


def labels_in_numbers_with_fractions(folder):
    cells = [{"bytes": encoded(pixels(1)[0, 0]), "path": None}]
    parquet.write_table(pyarrow.table({"img": cells, "label": [0.5]}), folder / "train.parquet")


def labels_left_out(folder):
    cells = [{"bytes": encoded(pixels(1)[0, 0]), "path": None}] * 2
    parquet.write_table(pyarrow.table({"img": cells, "label": [1, None]}), folder / "train.parquet")


def no_train_parquet(folder):
    write_parquet(folder / "test.parquet", 7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (torn_parquet, "train.parquet' is not a complete Parquet file"),
        (labels_of_no_utf8, "train.parquet' has labels that are not UTF-8; write it again"),
        (parts_of_no_utf8, r"train.parquet' is not a complete Parquet file \('utf-8' codec can't decode"),
        (parquet_of_no_utf8, r"train.parquet' is not a complete Parquet file \('utf-8' codec can't decode"),
        (no_pictures_in_parquet, "has no column of pictures"),
        (labels_in_numbers_with_fractions, "labels of type double; they must be whole numbers or words"),
        (labels_left_out, "train.parquet' has rows without a label"),
        (no_train_parquet, "has no train"),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(UserError, match=message):
        open_images(str(tmp_path))
