"""Every reader of the package: good files for it, how they are mutated, and what reads them.

A file of a run lies in a copy of a small run, so that everything a command does with the run is tried.
"""

import gzip
import io
import pickle
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

import seqgen.image.runs.load as image_runs
from seqgen import algorithms
from seqgen.core import settings
from seqgen.corpora import oracle_weights
from seqgen.corpora.grammar import parse_grammar
from seqgen.corpora.stats import statistics
from seqgen.data.conditions import joined
from seqgen.data.corpus import open_corpus
from seqgen.data.reading import Reading
from seqgen.data.tokenizer import Tokenizer, train_tokenizer
from seqgen.evaluation.sentence_files import read_sentences
from seqgen.generation import oracles
from seqgen.image.data.dataset import open_images
from seqgen.image.data.pictures import ReadOptions
from seqgen.image.runs import replay as image_replay
from seqgen.image.runs import setup as image_setup
from seqgen.inference.generate import generate
from seqgen.inference.scoring import score
from seqgen.metrics.embeddings import read_vectors
from seqgen.report.page import page
from seqgen.training import load, replay, run_folder, setup
from seqgen.training.data_config import DataConfig, with_conditions

from . import mutations
from .mutations import Mutate

STEPS, IMAGE_STEPS = 3, 2
TEXT_VALUES = {
    "generator.embedding": 5,
    "generator.hidden": 7,
    "batch_size": 16,
    "report_every": 2,
    "ngram.order": 3,
}
IMAGE_VALUES = {"net.hidden": 11, "latent_dim": 3, "batch_size": 7, "report_every": 1}


@dataclass(frozen=True)
class Reader:
    """A kind of file and what reads it."""

    file: str
    """Where the file lies in the folder of the case."""
    seeds: Callable[[Path], Sequence[bytes]]
    """Good files, by the folder that `build_world` filled."""
    mutate: Mutate
    reads: tuple[Callable[[Path], object], ...]
    """What is done with the path of a case; each must succeed or raise one line."""
    beside: str | None = None
    """The folder that the file belongs to: a run, or pictures."""

    def case(self, world: Path, rng: random.Random, kept: dict[str, Sequence[bytes]]) -> bytes:
        """Make a case; kept: the seeds of files already made."""
        if self.file not in kept:
            kept[self.file] = self.seeds(world)
        return self.mutate(rng, kept[self.file])

    def place(self, world: Path, content: bytes) -> Path:
        """Put a case where it is read, in a fresh copy of what is beside it, and return its path."""
        folder = world / "runs" / "case"
        shutil.rmtree(folder, ignore_errors=True)
        if self.beside is not None:
            shutil.copytree(world / "runs" / self.beside, folder)
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


def build_world(world: Path) -> None:
    """Fill a folder with a corpus, a run on text, one on images, and what else cases are made of."""
    people, places = (
        ("a cat", "two dogs", "the old man", "é bird"),
        ("on the mat.", "by a tree.", "in Paris, 3.5"),
    )
    lines = [f"{a} {b} {c}" for a in people for b in ("sat", "sleeps", "looked") for c in places]
    (world / "corpus.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for number in range(12):
        pixels = np.full((9, 11), 20 * number, np.uint8)
        place = world / "runs" / "pictures" / "train" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png")
    rows = "".join(f"{n % 3},{line.replace(',', ' ')}\n" for n, line in enumerate(lines))
    (world / "labelled.csv").write_text(f"label,text\n{rows}", encoding="utf-8")
    _text_job(world / "runs" / "text", STEPS).train()
    _labelled_job(world / "runs" / "labelled", STEPS).train()
    _image_job(world / "runs" / "image", IMAGE_STEPS).train()


def _text_job(path: Path, steps: int) -> setup.Job:
    data = DataConfig(corpus=str(path.parents[1] / "corpus.txt"))
    return setup.pretrain_job(data, path=path, values=TEXT_VALUES, steps=steps, device_name="cpu")


def _labelled_job(path: Path, steps: int) -> setup.Job:
    data = DataConfig(corpus=str(path.parents[1] / "labelled.csv"), column="text", label_column="label")
    return setup.pretrain_job(data, path=path, values=TEXT_VALUES, steps=steps, device_name="cpu")


def _image_job(path: Path, steps: int) -> setup.Job:
    return image_setup.train_job(
        "vae", str(path.parent / "pictures"), path=path, values=IMAGE_VALUES, steps=steps, device_name="cpu"
    )


def _corpus(column: str | None = None) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        corpus = open_corpus(str(path), column=column)
        return statistics([list(corpus.train)]), train_tokenizer(list(corpus.train)).encode_flat(
            list(corpus.test)
        )

    return read


def _conditions(*, label: str | None = None, source: str | None = None) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        corpus = open_corpus(str(path), column="text", label=label, source=source)
        data = DataConfig(str(path), column="text", label_column=label, source_column=source)
        tokenizer = with_conditions(
            train_tokenizer([*corpus.train, *corpus.train.conditions()]), data, corpus
        )
        return tokenizer.encode_flat(list(corpus.test)), tokenizer.to_json()

    return read


def _images(path: Path) -> object:
    folder = next(each for each in path.parents if each.name == "case")
    return next(iter(image_setup.ImageBatches(open_images(str(folder)).train, 2, seed=0)))


def _labelled_images(path: Path) -> object:
    return open_images(str(path.parent), without=1, options=ReadOptions(label_column="label")).train.labels


def _grammar(path: Path) -> object:
    grammar = parse_grammar("fuzz", path.read_text(encoding="utf-8", errors="replace"))
    samples = grammar.sample(3, seed=0)
    return grammar.log_probs(samples), grammar.automaton.lengths(), grammar.automaton.count()


def _settings(path: Path) -> object:
    values = settings.flatten(settings.read_toml(path))
    return [settings.override(algorithms.get(name).config(), values) for name in ("mle", "seqgan")]


def _sample_text(path: Path) -> object:
    trained = load.load(path.parent, "cpu")
    return list(generate(trained, 5, with_log_prob=True)), list(score(trained, ["a cat sat"]))


def _sample_labelled(path: Path) -> object:
    trained = load.load(path.parent, "cpu")
    return list(generate(trained, 5, labels={"1": 1.0})), list(score(trained, [joined("2", "a cat sat")]))


def _resume_labelled(path: Path) -> object:
    return _labelled_job(path.parent, STEPS + 1).train()


def _sample_image(path: Path) -> object:
    trained = image_runs.load(path.parent, "cpu")
    return trained.model.samples(3), trained.data.shape


def _report(path: Path) -> object:
    return page([load.load(path.parent, "cpu")], n=20, temperatures=(1.0,))


def _start(path: Path) -> object:
    job = setup.adversarial_job(
        path.parent, "seqgan", path=path.parents[1] / "game", device_name="cpu", steps=1
    )
    return job.run.config


def _resume_text(path: Path) -> object:
    return _text_job(path.parent, STEPS + 1).train()


def _replay_text(path: Path) -> object:
    return replay.replay_job(run_folder.open_run(path.parent), path.parents[1] / "again").run.config


def _replay_image(path: Path) -> object:
    return image_replay.replay_job(run_folder.open_run(path.parent), path.parents[1] / "again").run.config


def _resume_image(path: Path) -> object:
    return _image_job(path.parent, IMAGE_STEPS + 1).train()


def _tokenizer(path: Path) -> object:
    tokenizer = Tokenizer.load(path)
    ids = tokenizer.encode("two old cats é 1,000 </s> <unk>")
    return tokenizer.decode(ids), tokenizer.decode(range(tokenizer.vocab_size)), tokenizer.to_json()


def _vectors(path: Path) -> object:
    return read_vectors(path)


def _oracle(path: Path) -> object:
    oracle = oracles.load(f"{oracles.PREFIX}{path},length=5,sentences=3")
    return oracle.log_likelihood(oracle.sample(2, seed=0))


def _text_seeds(world: Path) -> list[bytes]:
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


def _csv_seeds(world: Path) -> list[bytes]:
    rows = (world / "corpus.txt").read_text(encoding="utf-8").splitlines()[:20]
    quoted = "".join(f'{n},"{row}, he said ""no"""\n' for n, row in enumerate(rows))
    semicolons = "".join(f"{n};{row.replace(',', ' ')}\n" for n, row in enumerate(rows))
    return [f"id,text\n{quoted}".encode(), f"id;text\n{semicolons}".encode(), "\n".join(rows).encode()]


def _labelled_csv_seeds(world: Path) -> list[bytes]:
    whole = (world / "labelled.csv").read_bytes()
    return [whole, whole.replace(b",", b";"), whole.replace(b"\n0,", b'\n"a, b",').replace(b"\n1,", b"\n,")]


def _pair_seeds(world: Path) -> list[bytes]:
    rows = [row | {"source": row["text"][::-1]} for row in _json_rows(world)]
    return [b"".join(mutations.json_text(row).replace(b"\n", b"") + b"\n" for row in rows)]


def _labelled_parquet_seeds(world: Path) -> list[bytes]:
    rows = [row["text"] for row in _json_rows(world)]
    labels = [n % 3 for n in range(len(rows))]
    named = pyarrow.array(["good", "bad", None] * len(rows)).dictionary_encode()[: len(rows)]
    return [_parquet({"text": rows, "label": each}) for each in (labels, list(map(str, labels)), named)]


def _tsv_seeds(world: Path) -> list[bytes]:
    return [each.replace(b",", b"\t") for each in _csv_seeds(world)]


def _json_rows(world: Path) -> list[dict[str, Any]]:
    rows = (world / "corpus.txt").read_text(encoding="utf-8").splitlines()[:20]
    return [{"id": n, "text": row, "more": {"label": None}} for n, row in enumerate(rows)]


def _json_lines_seeds(world: Path) -> list[bytes]:
    return [b"".join(mutations.json_text(row).replace(b"\n", b"") + b"\n" for row in _json_rows(world))]


def _json_seeds(world: Path) -> list[bytes]:
    return [mutations.json_text(_json_rows(world)), mutations.json_text({"data": _json_rows(world)})]


def _gzip_seeds(world: Path) -> list[bytes]:
    return [gzip.compress(each, mtime=0) for each in _text_seeds(world)]


def _parquet_seeds(world: Path) -> list[bytes]:
    rows = [row["text"] for row in _json_rows(world)]
    text = {"id": list(range(len(rows))), "text": rows}
    return [_parquet(text), _parquet({"text": pyarrow.array(rows).dictionary_encode()})]


def _image_parquet_seeds(world: Path) -> list[bytes]:
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


def _image_npz_seeds(world: Path) -> list[bytes]:
    return [_written(np.savez, **arrays) for arrays in _image_arrays()]


def _image_npy_seeds(world: Path) -> list[bytes]:
    found = [array for arrays in _image_arrays() for array in arrays.values() if array.ndim > 1]
    return [_written(np.save, array) for array in (*found, np.asfortranarray(found[0]))]


def _written(save: Callable[..., None], *arrays: np.ndarray, **named: np.ndarray) -> bytes:
    sink = io.BytesIO()
    save(sink, *arrays, **named)
    return sink.getvalue()


def _grammar_seeds(world: Path) -> list[bytes]:
    small = (
        "%join words\nScene -> Animal is Doing . | Doing [3]\nAnimal -> a(n) Size cat [0.5]\n   | two dogs\n"
        "Size -> old | small | ''\nDoing -> running | asleep\n",
        "%join characters\n%answer arithmetic\nSum -> Digit + Digit =\nDigit -> 1 | 2 [2] | 3\n",
    )
    return [each.encode() for each in small] + [
        files("seqgen.corpora").joinpath("expressions.cfg").read_bytes()
    ]


def _toml_seeds(world: Path) -> list[bytes]:
    return [
        b'batch_size = 32\nlr = 1e-3\n[generator]\nkind = "transformer"\nhidden = 64\nlayers = 2\n',
        b'generator.kind = "rnn"\ngenerator.cell = "gru"\ngenerator.tied = true\npatience = "none"\n',
    ]


def _part(*names: str) -> Callable[[Path], list[bytes]]:
    return lambda world: [(world / "runs" / name).read_bytes() for name in names]


def _tokenizer_seeds(world: Path) -> list[bytes]:
    lines = (world / "corpus.txt").read_text(encoding="utf-8").splitlines()
    sizes = {"word": None, "character": None, "bpe": 60, "byte": 280}
    made = [train_tokenizer(lines, kind, max_vocab=size) for kind, size in sizes.items()]
    return [each.to_json().encode() for each in made]


def _idx_seeds(world: Path) -> list[bytes]:
    head = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in (13, 5, 7))
    return [head + bytes(range(91)) * 5]


def _picture_seeds(world: Path) -> list[bytes]:
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


def _vector_seeds(world: Path) -> list[bytes]:
    return [b"2 3\ncat 0.5 1 -2\ndog 1e-3 0 3\n", "the 1 2 3 4\ncafé 0 0 0 1\n".encode()]


def _oracle_arrays() -> dict[str, np.ndarray]:
    v, e, h = 13, 3, 5
    sizes = ((v, e), (4 * h, e), (4 * h, h), (4 * h,), (h, v), (v,))
    return {
        name: np.full(size, 0.1, np.float32) for name, size in zip(oracle_weights.NAMES, sizes, strict=True)
    }


def _npz_seeds(world: Path) -> list[bytes]:
    return [_written(np.savez, **_oracle_arrays())]


def _pickle_seeds(world: Path) -> list[bytes]:
    arrays = _oracle_arrays()
    gate = [arrays["weight_ih"][:5].T.copy(), arrays["weight_hh"][:5].T.copy(), arrays["bias"][:5].copy()]
    listed = [arrays["embedding"], *gate * 4, arrays["output_weight"], arrays["output_bias"]]
    return [pickle.dumps(listed, protocol) for protocol in (0, 2, 4)]


def _sentences(path: Path) -> object:
    return read_sentences(path, "--hyp")


def _column(path: Path) -> object:
    return read_sentences(path, "--hyp", Reading("text"), keep_whitespace=True)


LABELS = (_conditions(label="label"),)
TABLE = (_corpus(), _corpus("text"), _column)
READERS: dict[str, Reader] = {
    "text": Reader("case.txt", _text_seeds, mutations.bytes_of, (_corpus(), _sentences)),
    "csv": Reader("case.csv", _csv_seeds, mutations.bytes_of, TABLE),
    "tsv": Reader("case.tsv", _tsv_seeds, mutations.bytes_of, TABLE),
    "jsonl": Reader("case.jsonl", _json_lines_seeds, mutations.json_lines_of, TABLE),
    "json": Reader("case.json", _json_seeds, mutations.json_of, TABLE),
    "parquet": Reader("case.parquet", _parquet_seeds, mutations.parquet_of, TABLE),
    "labelled-csv": Reader("case.csv", _labelled_csv_seeds, mutations.bytes_of, LABELS),
    "labelled-parquet": Reader("case.parquet", _labelled_parquet_seeds, mutations.parquet_of, LABELS),
    "pairs": Reader("case.jsonl", _pair_seeds, mutations.json_lines_of, (_conditions(source="source"),)),
    "gzip": Reader("case.txt.gz", _gzip_seeds, mutations.gzip_of, (_corpus(), _sentences)),
    "grammar": Reader("case.cfg", _grammar_seeds, mutations.bytes_of, (_grammar,)),
    "toml": Reader("case.toml", _toml_seeds, mutations.toml_of, (_settings,)),
    "embeddings": Reader("case.vec", _vector_seeds, mutations.bytes_of, (_vectors,)),
    "tokenizer": Reader("tokenizer.json", _tokenizer_seeds, mutations.json_of, (_tokenizer,)),
    "config": Reader(
        run_folder.CONFIG,
        _part("text/config.json"),
        mutations.json_of,
        (_sample_text, _start, _resume_text, _replay_text, _report),
        beside="text",
    ),
    "weights": Reader(
        run_folder.WEIGHTS,
        _part("text/model.safetensors"),
        mutations.safetensors_of,
        (_sample_text,),
        beside="text",
    ),
    "state": Reader(
        run_folder.STATE, _part("text/state.pt"), mutations.state_of, (_resume_text,), beside="text"
    ),
    "metrics": Reader(
        run_folder.METRICS,
        _part("text/metrics.jsonl"),
        mutations.json_lines_of,
        (_report, _resume_text),
        beside="text",
    ),
    "labelled-config": Reader(
        run_folder.CONFIG,
        _part("labelled/config.json"),
        mutations.json_of,
        (_sample_labelled, _resume_labelled, _replay_text, _report),
        beside="labelled",
    ),
    "labelled-tokenizer": Reader(
        run_folder.TOKENIZER,
        _part("labelled/tokenizer.json"),
        mutations.json_of,
        (_sample_labelled,),
        beside="labelled",
    ),
    "image-config": Reader(
        run_folder.CONFIG,
        _part("image/config.json"),
        mutations.json_of,
        (_sample_image, _resume_image, _replay_image),
        beside="image",
    ),
    "image-weights": Reader(
        run_folder.WEIGHTS,
        _part("image/model.safetensors"),
        mutations.safetensors_of,
        (_sample_image,),
        beside="image",
    ),
    "image-state": Reader(
        run_folder.STATE, _part("image/state.pt"), mutations.state_of, (_resume_image,), beside="image"
    ),
    "idx": Reader("train-images-idx3-ubyte", _idx_seeds, mutations.idx_of, (_images,)),
    "picture": Reader("train/a/case.png", _picture_seeds, mutations.bytes_of, (_images,), beside="pictures"),
    "image-parquet": Reader(
        "train.parquet", _image_parquet_seeds, mutations.parquet_of, (_images, _labelled_images)
    ),
    "image-npz": Reader("case.npz", _image_npz_seeds, mutations.npz_of, (_images, _labelled_images)),
    "image-npy": Reader("x_train.npy", _image_npy_seeds, mutations.bytes_of, (_images,)),
    "npz": Reader("case.npz", _npz_seeds, mutations.npz_of, (_oracle,)),
    "pickle": Reader("case.pkl", _pickle_seeds, mutations.bytes_of, (_oracle,)),
}
