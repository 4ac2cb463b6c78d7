"""The measures of an image run: likelihood, use of the code, and how near its samples are to real images.

| key            | meaning                                                                                   |
|----------------|-------------------------------------------------------------------------------------------|
| `likelihood`   | of test images, nats an image; null where the model gives none                            |
|   `elbo`       | evidence lower bound, one draw of each code; of `avb` that of the Gaussian with the       |
|                | posterior's moments                                                                       |
|   `adversarial`| of `avb`, its own bound, which is none where the critic is imperfect; else null           |
|   `nll`        | -log p(x) by importance sampling from the posterior: at least the truth on average        |
|   `nll_error`  | its standard error over images                                                            |
|   `images`     | how many test images `nll` is of; the bounds are of all                                   |
| `annealed`     | -log p(x) by annealed importance sampling, of the first of those images, or null          |
|   `nll`        | at least the truth on average, and independent of how good the posterior is               |
|   `nll_error`  | its standard error over images                                                            |
|   `difference` | its mean excess over the `nll` of the same images; `difference_error` its standard error  |
|   `effective`  | chains that carry the weight, mean over images; near 1 the estimate is loose              |
|   `acceptance` | share of accepted proposals                                                               |
|   `images`     | how many test images                                                                      |
| `codes`        | `active` of `units` units tell test images apart (Burda et al. 2016), or null             |
| `samples`      | as many samples as test images of the protocol, in the space of `features`:               |
|   `frechet`    | Fréchet distance of the two sets, taken for Gaussian                                      |
|   `precision`  | share of samples among real images, the quality (`seqgen.metrics.precision_recall.overlap`)        |
|   `recall`     | share of real images among samples, the variety                                           |
|   `density`    | the first as the mean number of real neighbourhoods a sample is in, over k                |
|   `coverage`   | share of real images with a sample in their neighbourhood                                 |
| `floor`        | the same of as many training images: what perfect samples would have                      |
| `nearest`      | Euclidean distance to the nearest training image, pixels in [0, 1]:                       |
|   `samples`    | median of samples                                                                         |
|   `test`       | median of test images                                                                     |
|   `copies`     | share of samples nearer than 99 % of test images are; 0.01 where nothing is copied, more  |
|                | also where samples are blurred                                                            |
|   `images`     | how many of each                                                                          |
| `protocol`     | everything those figures depend on; `accuracy` is the classifier's on test images         |

Fréchet distances compare only for the same data, features and N. Where a run's data are binarised, so are its
samples, by a draw of each pixel.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.core.random_state import own_randomness
from seqgen.functional import gaussian
from seqgen.image.data.dataset import Batch, in_order
from seqgen.image.evaluation import ais, sample_quality
from seqgen.image.evaluation.features import choose
from seqgen.image.networks import likelihood
from seqgen.image.runs.load import TrainedImages
from seqgen.metrics import precision_recall

Report = dict[str, Any]

ROWS = 1000
"""Images read at a time."""
AT_ONCE = 20
"""Images whose likelihood is estimated together."""
CHAINS, TEMPERATURES, LEAPFROGS = 16, 500, 10
"""Of annealed importance sampling, from the Gaussian with the posterior's means and variances."""


def evaluate(
    trained: TrainedImages,
    n: int = 10_000,
    *,
    seed: int = 0,
    features: Path | None = None,
    importance: int = 5000,
    images: int = 500,
    annealed: int | None = None,
    notify: Callable[[str], None] = lambda message: None,
) -> Report:
    """Measure a run on its test images; the keys are those of the module's table.

    Args:
        n: samples and real images compared; at most as many as there are test images.
        features: a TorchScript network (Inception) in place of a classifier of the data.
        importance: draws of each image's code.
        images: test images whose likelihood is estimated.
        annealed: how many of them by annealed importance sampling as well; none: 50 where the model's own
            bound is adversarial, else 0.
    """
    found = choose(trained.data, features, device=trained.device, notify=notify)
    with own_randomness(seed):
        rng = torch.Generator(trained.device).manual_seed(seed)
        explained, log_likelihoods = _likelihood(trained, importance, max(images, annealed or 0), rng, notify)
        if annealed is None:
            annealed = 50 if explained and explained["adversarial"] is not None else 0
        elif annealed and not explained:
            raise UserError(
                f"run '{trained.run.path}' ({trained.run.config['algorithm']}) has no likelihood to anneal "
                "to; leave --annealed away"
            )
        return {
            "likelihood": explained,
            "annealed": _annealed(trained, log_likelihoods[:annealed], rng, notify),
            "codes": _codes(trained),
            **sample_quality.samples(trained, n, found, seed=seed, notify=notify),
            "protocol": {
                "algorithm": trained.run.config["algorithm"],
                "data": trained.data.name,
                "binarise": trained.data.binarise,
                "n": min(n, len(trained.data.test), len(trained.data.train)),
                "features": found.name,
                "accuracy": found.accuracy,
                "neighbours": precision_recall.NEIGHBOURS,
                "importance": importance,
                "chains": CHAINS,
                "temperatures": TEMPERATURES,
                "leapfrogs": LEAPFROGS,
                "seed": seed,
            },
        }


@torch.no_grad()
def _likelihood(
    trained: TrainedImages, draws: int, images: int, rng: torch.Generator, notify: Callable[[str], None]
) -> tuple[Report | None, Tensor]:
    """Return the figures of `likelihood`, and log p(x) of some test images, (N,)."""
    model, test = trained.model, trained.data.test
    if not hasattr(model, "log_likelihood"):
        return None, torch.zeros(0)
    few = test.rows(torch.arange(min(images, len(test))))
    found = []
    for batch in in_order(few, AT_ONCE, trained.device):
        found.append(model.log_likelihood(batch.images, batch.labels, samples=draws, rng=rng).cpu())
        notify(f"importance sampling: {sum(map(len, found))} of {len(few)} images")
    log_likelihoods = torch.cat(found)
    bounds = [
        model.log_likelihood(batch.images, batch.labels, samples=1, rng=rng).cpu()
        for batch in in_order(test, ROWS, trained.device)
    ]
    adversarial = None
    if hasattr(model, "adversarial_bound"):
        batches = in_order(test, ROWS, trained.device)
        own = [model.adversarial_bound(batch).cpu() for batch in batches]
        adversarial = float(torch.cat(own).double().mean())
    return {
        "elbo": float(torch.cat(bounds).double().mean()),
        "adversarial": adversarial,
        "nll": -float(log_likelihoods.double().mean()),
        "nll_error": standard_error(log_likelihoods),
        "images": len(log_likelihoods),
    }, log_likelihoods


def _annealed(
    trained: TrainedImages, log_likelihoods: Tensor, rng: torch.Generator, notify: Callable[[str], None]
) -> Report | None:
    """Estimate the likelihood of the first test images, whose importance-sampled one is given, (N,), anew."""
    if not len(log_likelihoods):
        return None
    found = []
    first = trained.data.test.rows(torch.arange(len(log_likelihoods)))
    for batch in in_order(first, AT_ONCE, trained.device):
        found.append(annealed(trained.model, batch, rng=rng))
        done = sum(len(part.log_likelihood) for part in found)
        notify(f"annealed importance sampling: {done} of {len(first)} images")
    nll = -torch.cat([part.log_likelihood for part in found]).cpu()
    difference = nll + log_likelihoods
    return {
        "nll": float(nll.mean()),
        "nll_error": standard_error(nll),
        "difference": float(difference.mean()),
        "difference_error": standard_error(difference),
        "effective": float(torch.cat([part.effective for part in found]).mean()),
        "acceptance": float(np.mean([part.acceptance for part in found])),
        "images": len(nll),
    }


def annealed(
    model: Any,
    batch: Batch,
    *,
    chains: int | None = None,
    temperatures: int | None = None,
    leapfrogs: int | None = None,
    rng: torch.Generator | None = None,
) -> ais.Estimate:
    """Estimate log p(x) of images from the Gaussian with the means and variances of the model's posterior.

    The lengths are those of `ais.log_likelihood`; by default those of `evaluate`.
    """
    with torch.no_grad():
        mean, log_var = model.posterior(batch.images, batch.labels)
    return ais.log_likelihood(
        likelihood.of_decoder(model, batch.images, batch.labels),
        mean,
        log_var,
        chains=chains or CHAINS,
        temperatures=temperatures or TEMPERATURES,
        leapfrogs=leapfrogs or LEAPFROGS,
        rng=rng,
    )


def standard_error(values: Tensor) -> float:
    """Return the standard error of the mean; (N,), 0 for one value."""
    return float(values.double().std() / math.sqrt(len(values))) if len(values) > 1 else 0.0


def _codes(trained: TrainedImages) -> Report | None:
    model = trained.model
    if not hasattr(model, "encode"):
        return None
    batches = in_order(trained.data.test, ROWS, trained.device)
    codes = torch.cat([model.encode(batch.images, batch.labels).cpu() for batch in batches])
    return {"active": gaussian.active_units(codes), "units": codes.shape[1]}


def render(report: Mapping[str, Any]) -> str:
    """Lay out a report of `evaluate` as text."""
    said = report["protocol"]
    lines = [_row("", ["Fréchet", "precision", "recall", "density", "coverage"])]
    for name, title in (("samples", "samples"), ("floor", "training images")):
        values = report[name]
        shown = [f"{values['frechet']:.3f}"]
        shown += [f"{values[key]:.4f}" for key in ("precision", "recall", "density", "coverage")]
        lines.append(_row(title, shown))
    near = report["nearest"]
    lines += [
        "",
        f"nearest training image, median of {near['images']:,}: {near['samples']:.3f} of samples, "
        f"{near['test']:.3f} of test images",
        f"copies: {near['copies']:.2%} of samples are nearer than 99 % of test images",
        *_likelihood_lines(report),
        "",
        f"protocol: {said['algorithm']} on {said['data']}, binarisation {said['binarise']}; N {said['n']:,}; "
        f"k {said['neighbours']}; seed {said['seed']}",
        f"features: {said['features']}",
    ]
    return "\n".join(lines)


def _likelihood_lines(report: Mapping[str, Any]) -> list[str]:
    explained, again, codes = report["likelihood"], report["annealed"], report["codes"]
    said = report["protocol"]
    lines = []
    if explained:
        lines += ["", "of test images, nats an image", f"  ELBO {explained['elbo']:.3f}"]
        if explained["adversarial"] is not None:
            lines.append(f"  adversarial bound {explained['adversarial']:.3f}, as good as its critic")
        lines.append(
            f"  NLL {explained['nll']:.3f} ± {explained['nll_error']:.3f}, importance sampling, "
            f"{said['importance']:,} draws, {explained['images']:,} images"
        )
    if again:
        lines.append(
            f"  NLL {again['nll']:.3f} ± {again['nll_error']:.3f}, annealed importance sampling, "
            f"{said['chains']} chains of {said['temperatures']:,} temperatures, {again['images']:,} images"
        )
        lines.append(
            f"  the second less the first on the same images {again['difference']:+.3f} ± "
            f"{again['difference_error']:.3f}; {again['effective']:.1f} chains effective"
        )
    if codes:
        lines += ["", f"code: {codes['active']} of {codes['units']} units active"]
    return lines


def _row(title: str, cells: list[str]) -> str:
    return f"{title:<16}" + "".join(f"{cell:>11}" for cell in cells)
