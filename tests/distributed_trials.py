"""What tests let several processes do together: each runs this file, and writes what it found.

    RANK=0 WORLD_SIZE=2 … python tests/distributed_trials.py steps_of_text,random_numbers FILE

A trial is a function without arguments; what it returns is written to FILE by `torch.save`, under its name.
`together` starts the processes; the same function called by a test is one process with the whole batch.
"""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import image_helpers
import pytest
import torch
from helpers import batch, build, examples, sentences, without_compaction

from seqgen import image
from seqgen.core import device, distributed
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import UNK
from seqgen.functional import contrastive_losses, gan_losses
from seqgen.functional.mmd import squared_mmd
from seqgen.generation.sample import Samples, sample
from seqgen.inference import shared_draw
from seqgen.models.batch_norm import BatchNorm1d, BatchNorm2d
from seqgen.training import loop, run_folder

PROCESSES = 2
STEPS = 3
RELAXED = ("relgan", "catgan", "gsgan", "textgan-mmd", "aegan")
"""Algorithms that on the CPU of one process draw for the sentences that go on alone."""
FURTHER = {
    "mle": (1, 3, 4),
    "sentence-vae": (3, 5),
    "autoencoder": (2,),
    "residual": (2, 5),
    "seqgan": (1, 3, 9),
}
"""The examples of algorithms that are tried beside their first ones, by their numbers."""
MORE = {
    "aegan": {"samples": 6, "losses.gradient_penalty": 0.0},
}
"""Settings that all ranks can divide; a penalty of maxima depends on what rounding makes equal."""


def steps_of_text() -> dict[str, Any]:
    """Train every algorithm by some of its examples for some steps; what `steps` returns, by their names."""
    found: dict[str, Any] = {}
    seen: dict[str, int] = {}
    for name, values in examples():
        number = seen[name] = seen.get(name, -1) + 1
        if number and number not in FURTHER.get(name, ()):
            continue
        with pytest.MonkeyPatch.context() as patch:
            if name in RELAXED:
                without_compaction(patch)
            algorithm = build(name, {"batch_size": 6} | MORE.get(name, {}) | values)
            batches = [batch(algorithm.config.read_size, seed=i) for i in range(STEPS)]
            found[f"{name}-{number}"] = steps(algorithm, batches)
    return found


def steps_of_images() -> dict[str, Any]:
    """Train every example of every image model for some steps; what `steps` returns, by their names."""
    found, seen = {}, set()
    for name, entry in image.MODELS.items():
        for number, values in enumerate(entry.cls.examples if entry.cls not in seen else ()):
            model = image_helpers.build(entry.cls, values | {"batch_size": 6})
            batches = [image_helpers.batch(model.config.read_size, seed=i) for i in range(STEPS)]
            found[f"{name}-{number}"] = steps(model, batches)
        seen.add(entry.cls)
    return found


def steps_on_gpus() -> dict[str, Any]:
    """Train a few algorithms on a GPU a process by NCCL; what `steps` returns, by their names."""
    own = device.pick("cuda")
    found = {}
    for name, values in (
        ("mle", {"generator.dropout": 0.3}),
        ("seqgan", {"rollouts": 2}),
        ("scratchgan", {}),
    ):
        algorithm = build(name, {"batch_size": 6} | values).to(own)
        algorithm.configure()
        batches = [batch(algorithm.config.read_size, seed=i) for i in range(STEPS)]
        found[name] = steps(algorithm, batches, on=own)
    return found


def agreement_on_gpus() -> dict[str, Any]:
    """Return what processes tell each other of tensors on their GPUs and of objects on the host."""
    own, rank = device.pick("cuda"), distributed.rank()
    given = torch.tensor([1.5, 2.5], device=own) + rank
    distributed.copy_from_writer([given])
    distributed.check_same([given, torch.tensor(True, device=own)], "numbers")
    with distributed.sharded():
        mean = distributed.mean(torch.tensor(1.0 + rank, device=own))
        rows = distributed.gather(torch.tensor([[rank], [rank + 2]], device=own))
    found = {"copied": given.cpu(), "mean": mean.cpu(), "rows": rows.cpu(), "shared": distributed.share(rank)}
    distributed.wait_for_all()
    return found


def steps(algorithm: Any, batches: list[Any], *, on: torch.device | str = "cpu") -> dict[str, Any]:
    """Train by batches; return the metrics of each step, the weights, and the random state after them."""
    _coarsen(algorithm)
    torch.manual_seed(7)
    rows = []
    for i, each in enumerate(batches):
        metrics = loop.learn(algorithm, each, i / len(batches), torch.device(on))
        rows.append(
            dict(zip(metrics, distributed.averages([float(x) for x in metrics.values()]), strict=True))
        )
    weights = {name: part.cpu().clone() for name, part in algorithm.state_dict().items()}
    return {"metrics": rows, "weights": weights, "random state": torch.get_rng_state()}


def reports_of_text() -> dict[str, Any]:
    """Train every algorithm by its first example; return the rows of its metrics.jsonl, by its name."""
    found: dict[str, Any] = {}
    for name, values in examples():
        if name not in found:
            with pytest.MonkeyPatch.context() as patch:
                if name in RELAXED:
                    without_compaction(patch)
                algorithm = build(name, {"batch_size": 6} | MORE.get(name, {}) | values)
                size = algorithm.config.read_size
                found[name] = reports(algorithm, lambda i, size=size: batch(size, seed=i))
    return found


def reports_of_images() -> dict[str, Any]:
    """Train the first example of every image model; return the rows of its metrics.jsonl, by its name."""
    found = {}
    for name, entry in image.MODELS.items():
        model = image_helpers.build(entry.cls, entry.cls.examples[0] | {"batch_size": 6})
        size = model.config.read_size
        found[name] = reports(model, lambda i, size=size: image_helpers.batch(size, seed=i))
    return found


class _Stream:
    """Batches by their numbers, endless."""

    epoch = 0.0

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make, self.number = make, 0

    def __len__(self) -> int:
        return 10

    def __next__(self) -> Any:
        self.number += 1
        return self.make(self.number)

    def state_dict(self) -> dict[str, int]:
        return {"number": self.number}


def reports(algorithm: Any, make: Callable[[int], Any]) -> list[dict[str, float]]:
    """Train by batches with two reports; return what each said of the steps, none where another writes."""
    _coarsen(algorithm)
    torch.manual_seed(7)
    medium = loop.Medium("rows", len, 2, lambda path, samples: None)
    with tempfile.TemporaryDirectory() as folder:
        run = run_folder.Run(Path(folder), {})
        plan = loop.Plan(2 * STEPS, report_every=STEPS, checkpoint_every=STEPS)
        validation = [make(0)]
        loop.train(algorithm, _Stream(make), validation, run, plan, device=torch.device("cpu"), medium=medium)
        return run.metrics() if distributed.is_writer() else []


def _coarsen(algorithm: Any) -> None:
    """Give Adam a larger ε: a gradient of rounding errors alone, divided by its size, would be no error."""
    for optimizer in algorithm.optimizers.values():
        for group in optimizer.param_groups:
            group["eps"] = 1e-2


def batch_that_cannot_be_divided() -> dict[str, Any]:
    """Train on batches of which one has an odd number of sentences, and one unknown words."""
    unknown = sentences(6, seed=8)
    unknown[2, 0] = unknown[3, 1] = 1  # UNK
    given = [batch(6, seed=1), batch(5, seed=2), Batch(sentences(6, seed=3), replay=sentences(4, seed=4))]
    found = {"mle": steps(build("mle", {"batch_size": 6}), given)}
    with pytest.MonkeyPatch.context() as patch:
        without_compaction(patch)
        algorithm = build("dgsan", {"batch_size": 6})
        found["dgsan"] = steps(algorithm, [Batch(unknown), batch(6, seed=2)])
    return found


def samples() -> dict[str, Any]:
    """Return samples of models that draw differently, drawn together, and the random numbers after them."""
    mixed = build("mle", {"ngram.order": 3})
    mixed.mixture.is_used = True
    given = {name: torch.arange(66.0).view(6, 1, 11).sin() for name in ("first", "second")}
    template = sentences(6, seed=5).masked_fill(sentences(6, seed=5) > 8, UNK)
    draws: dict[str, tuple[shared_draw.Draw, dict[str, torch.Tensor], bool]] = {
        "mle": (build("mle").sample, {}, True),
        "n-grams": (mixed.sample, {}, True),
        "cold n-grams": (partial(mixed.sample, temperature=0.7), {}, True),
        "prompt": (build("mle").sample, {"prompt": sentences(6, 3, seed=4, shortest=3)[:, :2]}, True),
        "latents": (build("sentence-vae").sample, {}, True),
        "state": (_from_states, given, True),
        "infill": (_filled, {"template": template}, True),
        "candidates": (build("residual").sample, {}, False),
    }
    rng = torch.Generator().manual_seed(3)
    found = {}
    for name, (draw, options, by_rows) in draws.items():
        drawn = shared_draw.divided(draw, by_rows=by_rows)(6, rng=rng, **options)
        found[name] = drawn.tokens, drawn.log_probs, torch.rand(3, generator=rng)
        odd = shared_draw.divided(build("mle").sample)(5, rng=rng)  # which two cannot divide
        found[f"odd after {name}"] = odd.tokens, odd.log_probs, torch.rand(3, generator=rng)
    scored = partial(distributed.by_rows, build("mle").log_likelihood)
    found["likelihood"] = scored(sentences(6, seed=5)), scored(sentences(5, seed=6))
    return found


def _filled(n: int, rng: torch.Generator, template: torch.Tensor) -> Samples:
    return build("maskgan").infill(template, rng=rng)


def _from_states(n: int, rng: torch.Generator, **how: torch.Tensor) -> Samples:
    return sample(build("mle").generator, n, 7, state=(how["first"], how["second"]), rng=rng)


def losses_of_whole_batches() -> dict[str, Any]:
    """Return losses of divided rows and their gradients, which reach a weight by the mean over ranks."""
    first, second, third = (torch.randn(6, 5, generator=torch.Generator().manual_seed(i)) for i in range(3))
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    mask = torch.rand(6, 5, generator=torch.Generator().manual_seed(3)) < 0.5

    def scores(rows: torch.Tensor) -> torch.Tensor:
        return rows.sum(dim=1)

    losses: dict[str, Callable[..., torch.Tensor]] = {
        "info_nce": lambda a, b, c, *_: contrastive_losses.info_nce(a, b),
        "nt_xent": lambda a, b, c, *_: contrastive_losses.nt_xent(a, b, others=c),
        "logistic": lambda a, b, c, *_: contrastive_losses.logistic_contrastive(a, b, others=c),
        "supervised": lambda a, b, c, y, m: contrastive_losses.supervised_contrastive(a, y),
        "ranking": lambda a, b, c, *_: contrastive_losses.ranking_loss(a, b, c),
        "tokens": lambda a, b, c, y, m: contrastive_losses.token_contrastive(a[..., None] + b[:, None], m),
        "mmd": lambda a, b, c, *_: squared_mmd(a, b),
        "relativistic_average": lambda a, b, c, *_: gan_losses.GAN_LOSSES["relativistic_average"].generator(
            scores(a), scores(b)
        ),
        "masked": lambda a, b, c, y, m: gan_losses.cross_entropy(a, b, masks=(m, ~m)),
        "norm": lambda a, b, c, *_: (_norm(BatchNorm1d(5))(a) * b).square().mean(),
        "norm of maps": lambda a, b, c, *_: (
            _norm(BatchNorm2d(5))((a + b.square())[..., None, None]).exp().mean()
        ),
        "squared mean": lambda a, b, c, *_: distributed.mean((a * b).mean()) * (a + c).square().mean(),
    }
    found = {}
    for name, loss in losses.items():
        weight = torch.tensor([0.3, -1.1, 0.7, 0.2, 1.9], requires_grad=True)
        with distributed.sharded():
            parts = [distributed.shard(each * weight) for each in (first, second, third)]
            value = loss(*parts, distributed.shard(labels), distributed.shard(mask))
            gradients = torch.autograd.grad(value, [weight])
        (gradient,) = distributed.average_gradients(gradients)
        found[name] = torch.cat([torch.tensor(distributed.averages([float(value.detach())])), gradient])
    return found


def _norm(layer: torch.nn.Module) -> torch.nn.Module:
    return layer.train()


def random_numbers() -> dict[str, Any]:
    """Return what each rank draws, and the random state after it."""
    torch.manual_seed(3)
    with distributed.sharded():
        drawn = {
            "uniform": distributed.rand(3 if distributed.count() > 1 else 6, 5),
            "normal": distributed.randn(3 if distributed.count() > 1 else 6, 2),
        }
        drawn["of all"] = distributed.gather(drawn["uniform"])
    return drawn | {"after": torch.rand(3), "rank": torch.tensor(distributed.rank())}


def averaged_in_messages() -> list[torch.Tensor | None]:
    """Return averages of gradients that take several messages."""
    gradients = [None, *(torch.arange(n) * (1.0 + distributed.rank()) for n in (7, 11, 13))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "MESSAGE_BYTES", 80)
        return distributed.average_gradients(gradients)


def what_processes_agree_on() -> dict[str, Any]:
    """Return what each rank is told of the others, and the error where weights differ."""
    rank = distributed.rank()
    own = torch.tensor([1.5, 2.5]) + rank
    given = own.clone()
    distributed.copy_from_writer([given])
    found = {
        "largest": distributed.any_asks(15 * rank),
        "averages": distributed.averages([1.0 + rank, 4.0]),
        "shared": distributed.share({"of": rank, "seconds": 2.5 + rank}),
        "copied": given,
        "speaks": distributed.speaks_first(),
    }
    distributed.check_same([torch.ones(3), torch.tensor(True), torch.zeros(0)], "numbers")
    try:
        distributed.check_same([torch.ones(3), torch.tensor([0.5, 1.0 + rank * 2**-23])], "the weights")
    except UserError as error:
        found["error"] = str(error)
    distributed.wait_for_all()
    return found


def together(folder: Path, *trials: Callable[[], Any]) -> list[dict[str, Any]]:
    """Let processes run trials at the same time; return what each of them found, by their names."""
    names = ",".join(trial.__name__ for trial in trials)
    files = [folder / f"{rank}.pt" for rank in range(PROCESSES)]
    running = start([sys.executable, str(Path(__file__).resolve()), names], last=files)
    for process in running:
        errors = process.communicate(timeout=300)[1]
        assert process.returncode == 0, errors
    return [torch.load(file, weights_only=False) for file in files]


def assert_same_steps(
    of_ranks: list[dict[str, Any]], whole: dict[str, Any], *, rtol: float = 1e-4, atol: float = 1e-5
) -> None:
    """Compare what `steps` returned in each process with what it returned in one that had whole batches."""
    near = {"rtol": rtol, "atol": atol, "equal_nan": True}
    assert whole.keys() == of_ranks[0].keys()
    for name, expected in whole.items():
        first, second = (each[name] for each in of_ranks)
        torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True, msg=f"{name}: ranks")
        for mine, theirs in zip(first["metrics"], expected["metrics"], strict=True):
            torch.testing.assert_close(mine, theirs, **near, msg=f"{name}: {mine} {theirs}")
        for part, weight in expected["weights"].items():
            torch.testing.assert_close(first["weights"][part], weight, **near, msg=f"{name}: {part}")
        assert torch.equal(first["random state"], expected["random state"]), name


def assert_same_reports(of_ranks: list[Any], whole: dict[str, Any]) -> None:
    """Compare what `reports` returned in each process with what it returned in one that had whole batches."""
    of_time = {"seconds", "rows_per_second"}
    first, second = of_ranks
    assert first.keys() == whole.keys()
    assert not any(second.values())
    for name, expected in whole.items():
        assert [row["step"] for row in expected] == [0, STEPS, 2 * STEPS]
        for mine, theirs in zip(first[name], expected, strict=True):
            assert mine.keys() == theirs.keys(), name
            kept = ({key: row[key] for key in row.keys() - of_time} for row in (mine, theirs))
            torch.testing.assert_close(
                *kept, rtol=1e-4, atol=1e-5, equal_nan=True, msg=f"{name}: {mine} {theirs}"
            )


def start(command: list[str], *, last: list[Path] | None = None, **how: Any) -> list[Any]:
    """Start the processes of a command as `torchrun` does; `last` is the last argument of each."""
    count = PROCESSES
    port = str(free_port())
    found = []
    for rank in range(count):
        environment = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parent),
        }
        own = [*command, str(last[rank])] if last else command
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        found.append(subprocess.Popen(own, env=environment, **pipes, **how))
    return found


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.joined():
        torch.save({name: globals()[name]() for name in sys.argv[1].split(",")}, sys.argv[2])
