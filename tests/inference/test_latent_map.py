"""Maps of the latent space: their colours, tables of labelled sentences, and the picture."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from seqgen.core.errors import UserError
from seqgen.inference import latent_map, latent_space
from seqgen.inference.latent_map import by_label, by_length, draw, read_labelled
from seqgen.training import load

ROWS = [("a cat sat.", 3, "x"), ("  two   dogs ", 1, "y"), ('"hi", she said', 2, "x")]
READ = (["a cat sat.", "two dogs", '"hi", she said'], ["3", "1", "2"])


def test_lengths_and_labels_as_colours(small_runs: dict[str, Path]) -> None:
    found = load.load(small_runs["sentence-vae"], "cpu")
    lengths = by_length(found, ["a cat sat.", "a cat sat on the mat."])
    assert (lengths.title, lengths.values.tolist()) == ("tokens", [5.0, 8.0])  # a full stop, EOS
    assert by_label(["2", "1", "2"], "class").values.tolist() == ["2", "1", "2"]  # few numbers are names
    many = by_label([str(i / 2) for i in range(23)], "class")
    assert many.values.tolist() == [i / 2 for i in range(23)]
    with pytest.raises(UserError, match="class has 23 distinct labels; give at most 20"):
        by_label([f"name {i}" for i in range(23)], "class")


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "semicolon.csv", "tsv", "json", "jsonl", "parquet"])
def test_tables_give_sentences_and_labels_row_by_row(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"table.{ending}"
    rows = [dict(zip(("text", "stars", "kind"), row, strict=True)) for row in [*ROWS, (" ", 5, "z")]]
    if ending == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif ending == "json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif ending == "tsv":
        body = "".join(f"{row['text']}\t{row['stars']}\t{row['kind']}\n" for row in rows)
        path.write_text("text\tstars\tkind\n" + body, encoding="utf-8")
    else:
        quoted = ['"' + row["text"].replace('"', '""') + '"' for row in rows]
        body = "".join(
            f"{text},{row['stars']},{row['kind']}\n" for text, row in zip(quoted, rows, strict=True)
        )
        if ending.startswith("semicolon"):
            body = re.sub(r",(\d),(\w)\n", r";\1;\2\n", body)
        whole = (
            "text,stars,kind\n".replace(",", ";" if ending.startswith("semicolon") else ",") + body
        ).encode()
        path.write_bytes(gzip.compress(whole) if ending.endswith("gz") else whole)
    assert read_labelled(path, "stars", "text") == READ
    assert read_labelled(path, "kind") == (READ[0], ["x", "y", "x"])  # one other column holds text
    with pytest.raises(UserError, match="has 2 columns of text; name one with --column"):
        read_labelled(path, "stars")
    with pytest.raises(UserError, match="has no column 'star'; its columns: 'text', 'stars', 'kind'"):
        read_labelled(path, "star")


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "lines.txt"
    text.write_text("a\nb\n")
    with pytest.raises(UserError, match="is no table with columns; give a"):
        read_labelled(text, "kind")
    with pytest.raises(UserError, match=r"no file '.*absent.csv'"):
        read_labelled(tmp_path / "absent.csv", "kind")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"torn.parquet is no Parquet file"):
        read_labelled(tmp_path / "torn.parquet", "kind")


def test_a_map_is_a_picture_of_the_latents(small_runs: dict[str, Path]) -> None:
    found = load.load(small_runs["sentence-vae"], "cpu")
    lines = list(found.corpus.train)[:31]
    mapped = latent_map.latent_map(found, lines, method="pca")
    centred = latent_space.encode(found, lines).double().numpy()
    centred -= centred.mean(axis=0)
    # the first two components keep what any plane can keep of the squared distances
    strengths = np.linalg.svd(centred, compute_uv=False)
    assert (mapped.points**2).sum() == pytest.approx((strengths[:2] ** 2).sum(), rel=1e-6)
    for colours in (by_length(found, lines), by_label(["a", "b"] * 15 + ["a"], "kind")):
        picture = draw(mapped, colours, title="latents")
        assert picture.startswith(b"\x89PNG")
        assert picture == draw(mapped, colours, title="latents") != draw(mapped, colours, title="other")
    near = latent_map.latent_map(found, lines, seed=3)
    assert near.axes is None
    assert np.array_equal(near.points, latent_map.latent_map(found, lines, seed=3).points)
    with pytest.raises(UserError, match="2 latents are too few for a map"):
        latent_map.latent_map(found, lines[:2])
