"""Good files of every kind that the package reads, from which cases are made.

`world` is the folder that `readers.build_world` has filled.
"""

import gzip
import io
import pickle
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from seqgen.corpora import oracle_weights
from seqgen.data.tokenizer_training import train_tokenizer

from . import mutations


def text_files(world: Path) -> list[bytes]:
    text = (world / "corpus.txt").read_bytes()
    others = [
        "text with a BOM\n",
        "one\r\ntwo\r\rthree \u2028 4\n",
        "中文 句子\nпо-русски\n",
        "no newline",
        " \n\n x\n",
    ]
    encoded = [other.encode() for other in others]
    return [
        text,
        b"\xef\xbb\xbf" + encoded[0],
        *encoded[1:],
        others[2].encode("utf-16"),
        "café\n".encode("cp1252"),
    ]


def csv_files(world: Path) -> list[bytes]:
    rows = (world / "corpus.txt").read_text(encoding="utf-8").splitlines()[:20]
    quoted = "".join(f'{n},"{row}, he said ""no"""\n' for n, row in enumerate(rows))
    semicolons = "".join(f"{n};{row.replace(',', ' ')}\n" for n, row in enumerate(rows))
    return [f"id,text\n{quoted}".encode(), f"id;text\n{semicolons}".encode(), "\n".join(rows).encode()]


def labelled_csv_files(world: Path) -> list[bytes]:
    whole = (world / "labelled.csv").read_bytes()
    return [whole, whole.replace(b",", b";"), whole.replace(b"\n0,", b'\n"a, b",').replace(b"\n1,", b"\n,")]


def pair_files(world: Path) -> list[bytes]:
    rows = [row | {"source": row["text"][::-1]} for row in _json_rows(world)]
    return [b"".join(mutations.json_text(row).replace(b"\n", b"") + b"\n" for row in rows)]


def labelled_parquet_files(world: Path) -> list[bytes]:
    rows = [row["text"] for row in _json_rows(world)]
    labels = [n % 3 for n in range(len(rows))]
    named = pyarrow.array(["good", "bad", None] * len(rows)).dictionary_encode()[: len(rows)]
    return [_parquet({"text": rows, "label": each}) for each in (labels, list(map(str, labels)), named)]


def tsv_files(world: Path) -> list[bytes]:
    return [each.replace(b",", b"\t") for each in csv_files(world)]


def _json_rows(world: Path) -> list[dict[str, Any]]:
    rows = (world / "corpus.txt").read_text(encoding="utf-8").splitlines()[:20]
    return [{"id": n, "text": row, "more": {"label": None}} for n, row in enumerate(rows)]


def json_lines_files(world: Path) -> list[bytes]:
    return [b"".join(mutations.json_text(row).replace(b"\n", b"") + b"\n" for row in _json_rows(world))]


def json_files(world: Path) -> list[bytes]:
    return [mutations.json_text(_json_rows(world)), mutations.json_text({"data": _json_rows(world)})]


def gzip_files(world: Path) -> list[bytes]:
    return [gzip.compress(each, mtime=0) for each in text_files(world)]


def parquet_files(world: Path) -> list[bytes]:
    rows = [row["text"] for row in _json_rows(world)]
    text = {"id": list(range(len(rows))), "text": rows}
    return [_parquet(text), _parquet({"text": pyarrow.array(rows).dictionary_encode()})]


def image_parquet_files(world: Path) -> list[bytes]:
    pictures = [path.read_bytes() for path in sorted((world / "runs" / "pictures").rglob("*.png"))]
    images = [{"bytes": content, "path": "x.png"} for content in pictures]
    return [_parquet({"image": images, "label": [n % 3 for n in range(len(images))]})]


def _parquet(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


def _image_arrays() -> list[dict[str, np.ndarray]]:
    grey = (np.arange(23 * 5 * 7) % 256).reshape(23, 5, 7)
    labels = np.arange(23) % 3
    return [
        {"x": grey.astype(np.uint8), "label": labels},
        {"x_train": grey.astype(np.float32) / 255, "y_train": labels, "x_test": grey[:5] / 255.0},
        {"images": np.stack([grey] * 4, -1).astype(np.uint16), "label": labels.astype(str)},
    ]


def image_npz_files(world: Path) -> list[bytes]:
    return [_written(np.savez, **arrays) for arrays in _image_arrays()]


def image_npy_files(world: Path) -> list[bytes]:
    found = [array for arrays in _image_arrays() for array in arrays.values() if array.ndim > 1]
    return [_written(np.save, array) for array in (*found, np.asfortranarray(found[0]))]


def _written(save: Callable[..., None], *arrays: np.ndarray, **named: np.ndarray) -> bytes:
    sink = io.BytesIO()
    save(sink, *arrays, **named)
    return sink.getvalue()


def grammar_files(world: Path) -> list[bytes]:
    small = (
        "%join words\nScene -> Animal is Doing . | Doing [3]\nAnimal -> a(n) Size cat [0.5]\n   | two dogs\n"
        "Size -> old | small | ''\nDoing -> running | asleep\n",
        "%join characters\n%answer arithmetic\nSum -> Digit + Digit =\nDigit -> 1 | 2 [2] | 3\n",
    )
    return [each.encode() for each in small] + [
        files("seqgen.corpora").joinpath("expressions.cfg").read_bytes()
    ]


def toml_files(world: Path) -> list[bytes]:
    return [
        b'batch_size = 32\nlr = 1e-3\n[generator]\nkind = "transformer"\nhidden = 64\nlayers = 2\n',
        b'generator.kind = "rnn"\ngenerator.cell = "gru"\ngenerator.tied = true\npatience = "none"\n',
    ]


def part_of_run(*names: str) -> Callable[[Path], list[bytes]]:
    return lambda world: [(world / "runs" / name).read_bytes() for name in names]


def tokenizer_files(world: Path) -> list[bytes]:
    lines = (world / "corpus.txt").read_text(encoding="utf-8").splitlines()
    sizes = {"word": None, "character": None, "bpe": 60, "byte": 280}
    made = [train_tokenizer(lines, kind, max_vocab=size) for kind, size in sizes.items()]
    return [each.to_json().encode() for each in made]


def idx_files(world: Path) -> list[bytes]:
    head = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in (13, 5, 7))
    return [head + bytes(range(91)) * 5]


def picture_files(world: Path) -> list[bytes]:
    pixels = (np.arange(9 * 11 * 3) % 256).astype(np.uint8).reshape(9, 11, 3)
    seeds = []
    for form in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"):
        for mode in ("RGB", "L", "P"):
            sink = io.BytesIO()
            Image.fromarray(pixels).convert(
                "RGB" if form == "WEBP" or (form, mode) == ("JPEG", "P") else mode
            ).save(sink, form)
            seeds.append(sink.getvalue())
    return seeds


def vector_files(world: Path) -> list[bytes]:
    return [b"2 3\ncat 0.5 1 -2\ndog 1e-3 0 3\n", "the 1 2 3 4\ncafé 0 0 0 1\n".encode()]


def _oracle_arrays() -> dict[str, np.ndarray]:
    v, e, h = 13, 3, 5
    sizes = ((v, e), (4 * h, e), (4 * h, h), (4 * h,), (h, v), (v,))
    return {
        name: np.full(size, 0.1, np.float32) for name, size in zip(oracle_weights.NAMES, sizes, strict=True)
    }


def npz_files(world: Path) -> list[bytes]:
    return [_written(np.savez, **_oracle_arrays())]


def pickle_files(world: Path) -> list[bytes]:
    arrays = _oracle_arrays()
    gate = [arrays["weight_ih"][:5].T.copy(), arrays["weight_hh"][:5].T.copy(), arrays["bias"][:5].copy()]
    listed = [arrays["embedding"], *gate * 4, arrays["output_weight"], arrays["output_bias"]]
    return [pickle.dumps(listed, protocol) for protocol in (0, 2, 4)]
