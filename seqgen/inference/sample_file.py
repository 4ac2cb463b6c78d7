"""Samples written to a file, as text or JSON lines, in constant memory; an interrupted command goes on there.

Between two batches the position of sampling (`seqgen.inference.sentence.SamplingPosition`) is marked in the
part of the file (`seqgen.core.partial_files`), so that the file is the same, byte for byte, as without the
interruption: on one device, and of the same versions of seqgen and torch.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from seqgen.core import distributed, signals
from seqgen.core.errors import UserError
from seqgen.core.partial_files import PartialFile, partial_file
from seqgen.inference.sentence import SamplingPosition, Sentence
from seqgen.training.load import Trained

Draw = Callable[[SamplingPosition, Iterable[str]], Iterator[Sentence]]
"""What samples from a position on, given the texts that were sampled before."""


@dataclass(frozen=True)
class Layout:
    """How sentences stand in a file."""

    as_json: bool
    """An object a line, with log-probabilities; else the text alone."""
    end: str = "\n"
    """What is written after a text."""

    def write(self, sentence: Sentence) -> str:
        """Return a sentence as it stands in the file."""
        if self.as_json:
            return json.dumps(sentence.to_dict(), ensure_ascii=False) + "\n"
        return sentence.text + self.end

    def texts(self, written: str) -> list[str]:
        """Return the texts that `write` has written."""
        if self.as_json:
            return [json.loads(line)["text"] for line in written.split("\n")[:-1]]
        return written.split(self.end)[:-1]


def settings_of(trained: Trained, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that a file of samples depends on: what was asked for, the run, the device, the versions."""
    digest = hashlib.sha256(json.dumps(trained.run.config, sort_keys=True).encode())
    digest.update(trained.tokenizer.to_json().encode())
    for name, tensor in sorted(trained.algorithm.state_dict().items()):  # as loaded: a run may be in training
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    versions = {"seqgen": version("seqgen"), "torch": torch.__version__}
    return {**asked, "run of SHA-256": digest.hexdigest(), "device": trained.device.type, **versions}


def write_samples(
    path: Path,
    draw: Draw,
    layout: Layout,
    settings: Mapping[str, Any],
    *,
    total: int,
    unique: bool = False,
    notify: Callable[[str], None] = lambda message: None,
) -> None:
    """Write what `draw` samples to a file, or what is left of it where a command of these settings stopped.

    Of several processes the first one writes, and all of them draw from where it stands. total: sentences
    asked for, for messages. unique: give `draw` the texts that were sampled before. Raise UserError where the
    part of the file is of other settings (`seqgen.core.partial_files.partial_file`).
    """
    if not distributed.is_writer():
        stood, before = distributed.share(None)
        for _ in draw(SamplingPosition(**stood), before):
            pass
        return
    with partial_file(path, settings) as part:
        position = SamplingPosition(**part.position or {})
        if position.sentences:
            notify(f"going on from {position.sentences:,} of {total:,} sentences")
        before = _before(part, layout, position.sentences) if unique else []
        distributed.share((asdict(position), before))
        try:
            _fill(part, draw(position, before), layout, position)
        except signals.Terminated:
            if whole := (part.position or {}).get("sentences"):
                notify(f"{whole:,} of {total:,} sentences are kept; the same command goes on")
            raise


def _fill(
    part: PartialFile, sentences: Iterator[Sentence], layout: Layout, position: SamplingPosition
) -> None:
    written = position.sentences
    for sentence in sentences:
        if written == position.sentences:  # a batch has ended, and nothing of the next is written
            part.mark(asdict(position))
        part.write(layout.write(sentence).encode("utf-8", "surrogateescape"))
        written += 1


def _before(part: PartialFile, layout: Layout, count: int) -> list[str]:
    """Return the texts that a part holds; UserError where they cannot be told apart."""
    texts = layout.texts(part.read().decode("utf-8", "surrogateescape"))
    if len(texts) != count:
        raise UserError(
            "a sampled sentence holds what stands between sentences, so those before cannot be told apart; "
            "delete the '.part' beside the file to begin anew, or add --format jsonl"
        )
    return texts
