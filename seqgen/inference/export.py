"""A trained run in the formats of others: a step in ONNX, or a folder for the Hugging Face hub.

The step model reads a token and the state before it, and gives the log-probabilities of the next token and
the state after it. Every state begins as zeros, so that its shape is all that is to be known of it:

| input, output           | shape                                                                            |
|-------------------------|----------------------------------------------------------------------------------|
| `token`                 | int64 (batch,): BOS, 1, first                                                    |
| `state_0`, `state_1`, … | float32 (batch, …); a size `past` begins at 0 and grows by 1 with each token     |
| `log_probs`             | float32 (batch, V), natural logarithms, at temperature 1                         |
| `after_0`, `after_1`, … | the states after the token, in the order of the inputs                           |

The folder for the hub is the run itself without what training needs, beside the files by which `transformers`
loads the tokenizer; every command of seqgen reads it.
"""

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.algorithms.base import TextAlgorithm
from seqgen.core.atomic_files import write_bytes, write_text
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import BOS, EOS, PAD, SPECIALS, UNK
from seqgen.inference import model_card
from seqgen.models.base import Generator, evaluating
from seqgen.models.state import State
from seqgen.models.vocab_head import NEVER
from seqgen.training import data_config, run_folder
from seqgen.training.load import Trained

OPSET = 18
"""Version of ONNX's operators."""
MODEL, CARD = "model.onnx", "README.md"
SPECIAL = {"pad_token": PAD, "bos_token": BOS, "eos_token": EOS, "unk_token": UNK}
"""Names that `transformers` gives the special tokens, and their ids."""


class StepModel(nn.Module):
    """One step of a generator, whose states begin as zeros.

    begins: the tokens after which a sentence begins, BOS or its labels. Where no sentence is empty, EOS has
    no probability there (`VocabHead.never_ends_at`).
    """

    end: Tensor

    def __init__(self, generator: Generator, begins: Iterable[int]) -> None:
        super().__init__()
        self.generator = generator
        end = torch.zeros(generator.head.weight.shape[0])  # what EOS's logit has added after each token
        if generator.head.never_ends_at is not None:
            end[list(begins)] = NEVER
        self.register_buffer("end", end)
        with evaluating(generator):
            for i, part in enumerate(generator.initial(1)):
                # A state that grows begins without a position, and needs nothing added.
                self.register_buffer(f"start_{i}", part if part.numel() and part.any() else None)

    def forward(self, token: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Read a token (B,) after a state; → log-probabilities (B, V), then the parts of the state after."""
        starts = [getattr(self, f"start_{i}") for i in range(len(state))]
        before = tuple(
            part if start is None else part + start for part, start in zip(state, starts, strict=True)
        )
        hidden, after = self.generator.hidden(token[:, None], before)
        logits = self.generator.head(hidden[:, 0])
        is_end = torch.arange(logits.shape[1]) == EOS
        log_probs = torch.log_softmax(logits + self.end[token][:, None] * is_end, dim=-1)
        rest = (part if start is None else part - start for part, start in zip(after, starts, strict=True))
        return (log_probs, *rest)


def to_onnx(trained: Trained, folder: Path) -> None:
    """Write the step model of a run, its tokenizer, `config.json` and a card into a new or empty folder.

    UserError where a step of the generator does not say what the run samples, where the folder holds files,
    or where onnx is not installed.
    """
    check_is_a_step(trained)
    try:
        import onnx  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise UserError("onnx is not installed; pip install 'seqgen[export]'") from error

    def fill(place: Path) -> None:
        begins = list(trained.tokenizer.labels.values()) or [BOS]
        axes = _write_step(trained.algorithm.policy, begins, place / MODEL)
        write_text(place / run_folder.TOKENIZER, trained.tokenizer.to_json())
        described = describe(trained) | {"state": axes}
        write_text(place / run_folder.CONFIG, json.dumps(described, indent=2, ensure_ascii=False) + "\n")
        write_text(place / CARD, model_card.of_step(trained, described))

    _into(folder, fill)


def to_hub(trained: Trained, folder: Path, *, scores: Mapping[str, Any] | None = None) -> None:
    """Write a run as a folder for the Hugging Face Hub, with a card that states its measured numbers.

    scores: what `seqgen evaluate --json` printed of the run; the report of its training whose weights these
    are stands on the card in any case. UserError where the folder holds files.
    """
    run = trained.run
    special = {name: SPECIALS[id] for name, id in SPECIAL.items()}
    of_tokenizer = special | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": run.config["length"],
        "clean_up_tokenization_spaces": False,
    }
    config = run.config | {
        "data": data_config.to_store(trained.data, folder),
        **{f"{name}_id": id for name, id in SPECIAL.items() if name != "unk_token"},
    }
    contents = {
        run_folder.CONFIG: config,
        "tokenizer_config.json": of_tokenizer,
        "special_tokens_map.json": special,
    }

    def fill(place: Path) -> None:
        write_bytes(place / run_folder.WEIGHTS, (run.path / run_folder.WEIGHTS).read_bytes())
        write_text(place / run_folder.TOKENIZER, trained.tokenizer.to_json())
        for name, content in contents.items():
            write_text(place / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        write_text(place / CARD, model_card.of_run(trained, scores))

    _into(folder, fill)


def check_is_a_step(trained: Trained) -> None:
    """Raise UserError where the next token of what a run samples is not a step of its generator alone."""
    algorithm, name = trained.algorithm, trained.run.config["algorithm"]
    reason = ""
    if algorithm.takes_candidates:
        reason = "chooses among whole sentences by its discriminator"
    elif algorithm.latent:
        reason = "decodes a latent vector of each sentence"
    elif algorithm.mixed is not None:
        reason = "mixes its generator with n-gram counts"
    elif type(algorithm).sample is not TextAlgorithm.sample or not _is_plain(algorithm):
        reason = "samples by more than its generator"
    if reason:
        raise UserError(
            f"'{trained.run.path}' is a run of {name}, which {reason}: a step model would not be the whole; "
            "export it with --to hf, or a run of mle or seqgan to onnx"
        )


def _is_plain(algorithm: Any) -> bool:
    policy = algorithm.policy
    return isinstance(policy, Generator) and policy is getattr(algorithm, "generator", None)


def describe(trained: Trained) -> dict[str, Any]:
    """Return what a reader of the step model must know: the special tokens, lengths and labels."""
    config = trained.run.config
    return {
        "algorithm": config["algorithm"],
        "generator": config["settings"]["generator"]["kind"],
        "vocab_size": config["vocab_size"],
        "length": config["length"],
        "fixed_length": config.get("fixed_length"),
        **{f"{name}_id": id for name, id in SPECIAL.items()},
        "labels": dict(trained.tokenizer.labels),
        "source_end_id": trained.tokenizer.then,
        "seqgen": config.get("seqgen"),
    }


def _write_step(generator: Generator, begins: Iterable[int], path: Path) -> dict[str, list[int | str]]:
    """Write the step model; return the shape of each part of its state, its dimensions by number or name."""
    import copy

    model = StepModel(copy.deepcopy(generator).cpu().float(), begins).eval()
    shapes = state_shapes(model.generator)
    inputs = [f"state_{i}" for i in range(len(shapes))]
    outputs = [f"after_{i}" for i in range(len(shapes))]
    axes: dict[str, dict[int, str]] = {"token": {0: "batch"}, "log_probs": {0: "batch"}}
    for before, after, shape in zip(inputs, outputs, shapes, strict=True):
        named = {i: size for i, size in enumerate(shape) if isinstance(size, str)}
        axes[before] = named
        axes[after] = {i: "length" if name == "past" else name for i, name in named.items()}
    # The example has two rows and two positions: a size of 1 could be taken for what is broadcast.
    example = [torch.zeros([size if isinstance(size, int) else 2 for size in shape]) for shape in shapes]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, and that this exporter is the older one
        torch.onnx.export(
            model,
            (torch.tensor([BOS, EOS]), *example),
            str(path),
            input_names=["token", *inputs],
            output_names=["log_probs", *outputs],
            dynamic_axes=axes,
            opset_version=OPSET,
            # The newer exporter cannot export LSTM and GRU whose batch may be of any size.
            dynamo=False,
        )
    return dict(zip(inputs, shapes, strict=True))


def state_shapes(generator: Generator) -> list[list[int | str]]:
    """Return the shape of each part of a generator's state: `batch` first, `past` where it grows."""
    token = torch.full((1, 1), BOS, device=generator.head.weight.device)
    with evaluating(generator):
        before = generator.initial(1)
        _, after = generator.hidden(token, before)

    def named(start: State, end: State) -> list[list[int | str]]:
        return [
            ["batch", *("past" if a != b else a for a, b in zip(one.shape[1:], other.shape[1:], strict=True))]
            for one, other in zip(start, end, strict=True)
        ]

    return named(before, after)


def _into(folder: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder whole or not at all: a new one beside it, which is then renamed.

    UserError where there is something in it already.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UserError(f"--out '{folder}' is no folder; name a new or an empty one")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"--out '{folder}' holds files already; empty it, or name another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=".seqgen-export-", dir=folder.parent))
    try:
        fill(place)
        place.chmod(0o777 & ~_umask())
        os.replace(place, folder)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _umask() -> int:
    """Return the mask of permissions of this process."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
