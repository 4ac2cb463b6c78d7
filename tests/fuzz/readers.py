"""Every reader of the package: what good files it has, how they are mutated, and what reads them.

A file of a run lies in a copy of a small run, so that everything a command does with the run is tried.
"""

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import seqgen.image.runs.load as image_runs
from seqgen import algorithms
from seqgen.core import settings
from seqgen.corpora.grammar import parse_grammar
from seqgen.corpora.stats import statistics
from seqgen.data.conditions import joined
from seqgen.data.corpus import open_corpus
from seqgen.data.reading import Reading
from seqgen.data.tokenizer import Tokenizer
from seqgen.data.tokenizer_training import train_tokenizer
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

from . import good_files, mutations
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


def _sentences(path: Path) -> object:
    return read_sentences(path, "--hyp")


def _column(path: Path) -> object:
    return read_sentences(path, "--hyp", Reading("text"), keep_whitespace=True)


LABELS = (_conditions(label="label"),)
TABLE = (_corpus(), _corpus("text"), _column)
READERS: dict[str, Reader] = {
    "text": Reader("case.txt", good_files.text_files, mutations.bytes_of, (_corpus(), _sentences)),
    "csv": Reader("case.csv", good_files.csv_files, mutations.bytes_of, TABLE),
    "tsv": Reader("case.tsv", good_files.tsv_files, mutations.bytes_of, TABLE),
    "jsonl": Reader("case.jsonl", good_files.json_lines_files, mutations.json_lines_of, TABLE),
    "json": Reader("case.json", good_files.json_files, mutations.json_of, TABLE),
    "parquet": Reader("case.parquet", good_files.parquet_files, mutations.parquet_of, TABLE),
    "labelled-csv": Reader("case.csv", good_files.labelled_csv_files, mutations.bytes_of, LABELS),
    "labelled-parquet": Reader(
        "case.parquet", good_files.labelled_parquet_files, mutations.parquet_of, LABELS
    ),
    "pairs": Reader(
        "case.jsonl", good_files.pair_files, mutations.json_lines_of, (_conditions(source="source"),)
    ),
    "gzip": Reader("case.txt.gz", good_files.gzip_files, mutations.gzip_of, (_corpus(), _sentences)),
    "grammar": Reader("case.cfg", good_files.grammar_files, mutations.bytes_of, (_grammar,)),
    "toml": Reader("case.toml", good_files.toml_files, mutations.toml_of, (_settings,)),
    "embeddings": Reader("case.vec", good_files.vector_files, mutations.bytes_of, (_vectors,)),
    "tokenizer": Reader("tokenizer.json", good_files.tokenizer_files, mutations.json_of, (_tokenizer,)),
    "config": Reader(
        run_folder.CONFIG,
        good_files.part_of_run("text/config.json"),
        mutations.json_of,
        (_sample_text, _start, _resume_text, _replay_text, _report),
        beside="text",
    ),
    "weights": Reader(
        run_folder.WEIGHTS,
        good_files.part_of_run("text/model.safetensors"),
        mutations.safetensors_of,
        (_sample_text,),
        beside="text",
    ),
    "state": Reader(
        run_folder.STATE,
        good_files.part_of_run("text/state.pt"),
        mutations.state_of,
        (_resume_text,),
        beside="text",
    ),
    "metrics": Reader(
        run_folder.METRICS,
        good_files.part_of_run("text/metrics.jsonl"),
        mutations.json_lines_of,
        (_report, _resume_text),
        beside="text",
    ),
    "labelled-config": Reader(
        run_folder.CONFIG,
        good_files.part_of_run("labelled/config.json"),
        mutations.json_of,
        (_sample_labelled, _resume_labelled, _replay_text, _report),
        beside="labelled",
    ),
    "labelled-tokenizer": Reader(
        run_folder.TOKENIZER,
        good_files.part_of_run("labelled/tokenizer.json"),
        mutations.json_of,
        (_sample_labelled,),
        beside="labelled",
    ),
    "image-config": Reader(
        run_folder.CONFIG,
        good_files.part_of_run("image/config.json"),
        mutations.json_of,
        (_sample_image, _resume_image, _replay_image),
        beside="image",
    ),
    "image-weights": Reader(
        run_folder.WEIGHTS,
        good_files.part_of_run("image/model.safetensors"),
        mutations.safetensors_of,
        (_sample_image,),
        beside="image",
    ),
    "image-state": Reader(
        run_folder.STATE,
        good_files.part_of_run("image/state.pt"),
        mutations.state_of,
        (_resume_image,),
        beside="image",
    ),
    "idx": Reader("train-images-idx3-ubyte", good_files.idx_files, mutations.idx_of, (_images,)),
    "picture": Reader(
        "train/a/case.png", good_files.picture_files, mutations.bytes_of, (_images,), beside="pictures"
    ),
    "image-parquet": Reader(
        "train.parquet", good_files.image_parquet_files, mutations.parquet_of, (_images, _labelled_images)
    ),
    "image-npz": Reader(
        "case.npz", good_files.image_npz_files, mutations.npz_of, (_images, _labelled_images)
    ),
    "image-npy": Reader("x_train.npy", good_files.image_npy_files, mutations.bytes_of, (_images,)),
    "npz": Reader("case.npz", good_files.npz_files, mutations.npz_of, (_oracle,)),
    "pickle": Reader("case.pkl", good_files.pickle_files, mutations.bytes_of, (_oracle,)),
}
