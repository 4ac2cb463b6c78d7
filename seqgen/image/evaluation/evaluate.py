"""The metrics of an image run: likelihood, use of the latent, and the quality of its samples.

| key                           | meaning                                                                    |
|-------------------------------|----------------------------------------------------------------------------|
| `likelihood`                  | of test images, nats an image; null where the model has none               |
|   `elbo`                      | evidence lower bound, mean of ten draws of each latent; of `avb` with the  |
|                               | Gaussian of the posterior's moments as the posterior                       |
|   `adversarial_bound`         | of `avb`, its own bound, no bound where the critic is imperfect; else null |
|   `nll`                       | -log p(x) by importance sampling from the posterior: an upper bound in     |
|                               | expectation                                                                |
|   `nll_standard_error`        | over images                                                                |
|   `images`                    | how many test images these are of, the same ones                           |
| `annealed`                    | -log p(x) by annealed importance sampling, of the first of those images,   |
|                               | or null                                                                    |
|   `nll`                       | an upper bound in expectation, however good the posterior is               |
|   `nll_standard_error`        | over images                                                                |
|   `difference`                | mean of this `nll` minus the one above, on the same images                 |
|   `difference_standard_error` | over images                                                                |
|   `effective_chains`          | effective sample size, mean over images; near 1 the bound is loose         |
|   `acceptance_rate`           | fraction of accepted proposals                                             |
|   `images`                    | how many test images                                                       |
| `critic`                      | of `avb`, on the images of `nll`: KL(q(z | x) ‖ p(z)), nats; else null     |
|   `kl`                        | by the critic, as the adversarial bound has it                             |
|   `kl_least`, `kl_most`       | bounds of the true one, in expectation, by nested Monte Carlo              |
|   `warning`                   | where the critic underestimates it, so that its bound is none; else null   |
| `latent`                      | null where the model has no encoder                                        |
|   `active_units`              | dimensions that differ between test images (Burda et al. 2016)             |
|   `dimensions`                | how many there are                                                         |
|   `mutual_information_gap`    | of the label: by how much more of its entropy the dimension that says most |
|                               | of it says than the next one (`seqgen.metrics.disentanglement`); null of   |
|                               | unlabelled images and conditional models                                   |
| `samples`                     | as many samples as test images of the protocol, in the space of            |
|                               | `features`:                                                                |
|   `frechet`                   | Fréchet distance of the two sets, as of two Gaussians                      |
|   `precision`                 | fraction of samples in a neighbourhood of real images: quality             |
|                               | (`seqgen.metrics.precision_recall.overlap`)                                |
|   `recall`                    | fraction of real images in a neighbourhood of samples: diversity           |
|   `density`                   | mean number of real neighbourhoods that a sample is in, over k             |
|   `coverage`                  | fraction of real images with a sample in their neighbourhood               |
| `training_images`             | the same of as many training images: the values of perfect samples         |
| `ranges`                      | of `samples` and `training_images`: least and greatest value of each       |
|                               | metric over the feature spaces, those of classifiers of several seeds,     |
|                               | over which they are averaged                                               |
| `nearest`                     | Euclidean distance to the nearest training image, pixels in [0, 1]:        |
|   `samples`                   | median of samples                                                          |
|   `test`                      | median of test images                                                      |
|   `copy_rate`                 | fraction of samples nearer than 99 % of new test images are; 0.01 where    |
|                               | nothing is copied, more also where samples are blurred                     |
|   `test_in_training`          | fraction of test images that are also training images, so not new          |
|   `images`                    | how many of each                                                           |
| `protocol`                    | everything that these metrics depend on; `accuracy` is of the classifier,  |
|                               | null where no test image has a label                                       |

Fréchet distances compare only for the same data, features and N. Where a run's data are binarised, so are its
samples, by a draw of each pixel.
"""

import math
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.core.random_state import own_randomness
from seqgen.functional import gaussian
from seqgen.functional.implicit_posterior import critic_warning
from seqgen.image.data.dataset import Batch, in_order
from seqgen.image.evaluation import ais, sample_quality
from seqgen.image.evaluation.features import choose
from seqgen.image.models.avb import AVB
from seqgen.image.networks import likelihood
from seqgen.image.runs.load import TrainedImages
from seqgen.metrics import precision_recall
from seqgen.metrics.disentanglement import mutual_information_gap

Report = dict[str, Any]

CHUNK = 1000
"""Images encoded at a time."""
CLASSIFIERS = 3
"""Classifiers over whose features metrics are averaged."""
BOUND_DRAWS = 10
"""Latents of each image over which its bound is averaged."""
LIKELIHOOD_BATCH = 20
"""Images whose likelihood is estimated together."""
CRITIC_DRAWS, INNER_DRAWS = 8, 512
"""Latents of each image, and draws of the common noise for each of them, in the check of AVB's critic."""
CHAINS, TEMPERATURES, LEAPFROGS = 16, 500, 10
"""Of annealed importance sampling, from the Gaussian with the posterior's means and variances."""


def evaluate(
    trained: TrainedImages,
    n: int = 10_000,
    *,
    seed: int = 0,
    features: Path | None = None,
    classifiers: int = CLASSIFIERS,
    trust: bool = False,
    importance: int = 5000,
    images: int = 500,
    annealed: int | None = None,
    notify: Callable[[str], None] = lambda message: None,
) -> Report:
    """Measure a run on its test images; the module's table lists the keys.

    Args:
        n: samples and real images compared; at most as many as there are test images.
        features: a TorchScript network (Inception) in place of classifiers of the data.
        classifiers: how many of these, over which the metrics in their features are averaged.
        trust: whether that network, a program, may be run.
        importance: draws of each image's latent.
        images: test images whose likelihood is estimated.
        annealed: how many of them by annealed importance sampling as well; none: 50 where the model's own
            bound is adversarial, else 0.
    """
    spaces = choose(
        trained.data, features, classifiers=classifiers, trust=trust, device=trained.device, notify=notify
    )
    with own_randomness(seed):
        rng = torch.Generator(trained.device).manual_seed(seed)
        likelihoods, log_likelihoods = _likelihood(
            trained, importance, max(images, annealed or 0), rng, notify
        )
        if annealed is None:
            annealed = 50 if likelihoods and likelihoods["adversarial_bound"] is not None else 0
        elif annealed and not likelihoods:
            raise UserError(
                f"run '{trained.run.path}' ({trained.run.config['algorithm']}) has no likelihood to "
                "estimate; leave --annealed out"
            )
        return {
            "likelihood": likelihoods,
            "annealed": _annealed(trained, log_likelihoods[:annealed], rng, notify),
            "critic": _critic(trained, images, rng),
            "latent": _latent(trained),
            **sample_quality.measure(trained, n, spaces, seed=seed, notify=notify),
            "protocol": {
                "algorithm": trained.run.config["algorithm"],
                "data": trained.data.name,
                "binarise": trained.data.binarise,
                "n": min(n, len(trained.data.test), len(trained.data.train)),
                "features": spaces[0].name,
                "feature_spaces": len(spaces),
                "accuracy": spaces[0].accuracy,
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
    """Return the metrics of `likelihood`, and log p(x) of some test images, (N,)."""
    model, test = trained.model, trained.data.test
    if not hasattr(model, "log_likelihood"):
        return None, torch.zeros(0)
    subset = test.rows(torch.arange(min(images, len(test))))
    parts = []
    for batch in in_order(subset, LIKELIHOOD_BATCH, trained.device):
        parts.append(model.log_likelihood(batch.images, batch.labels, samples=draws, rng=rng).cpu())
        notify(f"importance sampling: {sum(map(len, parts))} of {len(subset)} images")
    log_likelihoods = torch.cat(parts)
    batches = list(in_order(subset, CHUNK, trained.device)) * BOUND_DRAWS
    elbos = [model.log_likelihood(batch.images, batch.labels, samples=1, rng=rng).cpu() for batch in batches]
    adversarial_bound = None
    if hasattr(model, "adversarial_bound"):
        bounds = [model.adversarial_bound(batch).cpu() for batch in batches]
        adversarial_bound = float(torch.cat(bounds).double().mean())
    return {
        "elbo": float(torch.cat(elbos).double().mean()),
        "adversarial_bound": adversarial_bound,
        "nll": -float(log_likelihoods.double().mean()),
        "nll_standard_error": standard_error(log_likelihoods),
        "images": len(log_likelihoods),
    }, log_likelihoods


def _annealed(
    trained: TrainedImages, log_likelihoods: Tensor, rng: torch.Generator, notify: Callable[[str], None]
) -> Report | None:
    """Return the metrics of `annealed` on the first test images, given importance-sampled log p(x), (N,)."""
    if not len(log_likelihoods):
        return None
    estimates = []
    subset = trained.data.test.rows(torch.arange(len(log_likelihoods)))
    for batch in in_order(subset, LIKELIHOOD_BATCH, trained.device):
        estimates.append(annealed(trained.model, batch, rng=rng))
        done = sum(len(part.log_likelihood) for part in estimates)
        notify(f"annealed importance sampling: {done} of {len(subset)} images")
    nll = -torch.cat([part.log_likelihood for part in estimates]).cpu()
    difference = nll + log_likelihoods
    return {
        "nll": float(nll.mean()),
        "nll_standard_error": standard_error(nll),
        "difference": float(difference.mean()),
        "difference_standard_error": standard_error(difference),
        "effective_chains": float(torch.cat([part.effective_chains for part in estimates]).mean()),
        "acceptance_rate": float(np.mean([part.acceptance_rate for part in estimates])),
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

    The other arguments are those of `ais.log_likelihood`, with the defaults of `evaluate`.
    """
    with torch.no_grad():
        mean, log_var = model.posterior(batch.images, batch.labels)
    return ais.log_likelihood(
        likelihood.decoder_log_likelihood(model, batch.images, batch.labels),
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


@torch.no_grad()
def _critic(trained: TrainedImages, images: int, rng: torch.Generator) -> Report | None:
    """Return the metrics of `critic` on some test images."""
    model = trained.model
    if not isinstance(model, AVB):
        return None
    subset = trained.data.test.rows(torch.arange(min(images, len(trained.data.test))))
    parts = []
    for batch in in_order(subset, LIKELIHOOD_BATCH, trained.device):
        by_critic, bounds = model.check_critic(batch, draws=CRITIC_DRAWS, inner=INNER_DRAWS, rng=rng)
        parts.append(torch.stack([by_critic, *bounds]).cpu())
    kl, least, most = torch.cat(parts, dim=1).double().mean(dim=1).tolist()
    return {"kl": kl, "kl_least": least, "kl_most": most, "warning": critic_warning(kl, least)}


def _latent(trained: TrainedImages) -> Report | None:
    model = trained.model
    if not hasattr(model, "encode"):
        return None
    batches = in_order(trained.data.test, CHUNK, trained.device)
    latents = torch.cat([model.encode(batch.images, batch.labels).cpu() for batch in batches])
    labels = trained.data.test.labels
    known = labels >= 0
    gap = None
    if not model.config.conditional and len(labels[known].unique()) > 1:
        gap = mutual_information_gap(latents[known].numpy(), labels[known, None].numpy())
    return {
        "active_units": gaussian.active_units(latents),
        "dimensions": latents.shape[1],
        "mutual_information_gap": gap,
    }


def render(report: Mapping[str, Any]) -> str:
    """Lay out a report of `evaluate` as text."""
    protocol = report["protocol"]
    lines = [_row("", ["Fréchet", "precision", "recall", "density", "coverage"])]
    for name, title in (("samples", "samples"), ("training_images", "training images")):
        values = report[name]
        cells = [f"{values['frechet']:.3f}"]
        cells += [f"{values[key]:.4f}" for key in ("precision", "recall", "density", "coverage")]
        lines.append(_row(title, cells))
        if protocol["feature_spaces"] > 1:
            lines.append(_row("", [_range(report["ranges"][name][key], key) for key in values]))
    nearest = report["nearest"]
    lines += [
        "",
        f"nearest training image, median of {nearest['images']:,}: {nearest['samples']:.3f} of samples, "
        f"{nearest['test']:.3f} of test images",
        f"copies: {nearest['copy_rate']:.2%} of samples are nearer than 99 % of test images{_known(nearest)}",
        *_likelihood_lines(report),
        "",
        f"protocol: {protocol['algorithm']} on {protocol['data']}, binarisation {protocol['binarise']}; "
        f"N {protocol['n']:,}; k {protocol['neighbours']}; seed {protocol['seed']}",
        f"features: {protocol['features']}",
        *_several(protocol["feature_spaces"]),
    ]
    return "\n".join(lines)


def _range(bounds: list[float], key: str) -> str:
    """Show the least and the greatest value of a metric."""
    low, high = (f"{bound:.2f}" if key == "frechet" else f"{bound:.3f}".removeprefix("0") for bound in bounds)
    return f"{low}–{high}"


def _several(spaces: int) -> list[str]:
    """Say over how many classifiers metrics are averaged."""
    return (
        [f"means over {spaces} classifiers, of other seeds, and below them their ranges"]
        if spaces > 1
        else []
    )


def _known(nearest: Mapping[str, float]) -> str:
    """Say how many test images are not new, where some are."""
    known = nearest["test_in_training"]
    return f"; without {known:.2%} of these, which are also training images" if known else ""


def _likelihood_lines(report: Mapping[str, Any]) -> list[str]:
    likelihoods, annealing, latent = report["likelihood"], report["annealed"], report["latent"]
    protocol = report["protocol"]
    lines = []
    if likelihoods:
        lines += ["", f"of {likelihoods['images']:,} test images, nats an image"]
        lines.append(f"  ELBO {likelihoods['elbo']:.3f}")
        if likelihoods["adversarial_bound"] is not None:
            lines.append(f"  adversarial bound {likelihoods['adversarial_bound']:.3f}, as good as its critic")
        lines.append(
            f"  NLL {_with_error(likelihoods, 'nll')}, importance sampling, {protocol['importance']:,} draws"
        )
    if critic := report["critic"]:
        lines.append(
            f"  KL(q(z | x) ‖ p(z)) {critic['kl']:.3f} by the critic, {critic['kl_least']:.3f} to "
            f"{critic['kl_most']:.3f} by nested Monte Carlo"
        )
        warning = f"warning: {critic['warning']}" if critic["warning"] else ""
        lines += textwrap.wrap(warning, 100, initial_indent="  ", subsequent_indent="  ")
    if annealing:
        lines.append(
            f"  NLL {_with_error(annealing, 'nll')}, annealed importance sampling, "
            f"{protocol['chains']} chains of {protocol['temperatures']:,} temperatures, "
            f"{annealing['images']:,} images"
        )
        lines.append(
            f"  annealed minus importance sampling on the same images "
            f"{_with_error(annealing, 'difference')}; {annealing['effective_chains']:.1f} effective chains"
        )
    if latent:
        gap = latent["mutual_information_gap"]
        known = "" if gap is None else f"; mutual information gap of the label {gap:.3f}"
        lines += ["", f"latent: {latent['active_units']} of {latent['dimensions']} dimensions active{known}"]
    return lines


def _with_error(values: Mapping[str, float], key: str) -> str:
    sign = "+" if key == "difference" else ""
    return f"{values[key]:{sign}.3f} ± {values[f'{key}_standard_error']:.3f}"


def _row(title: str, cells: list[str]) -> str:
    return f"{title:<16}" + "".join(f"{cell:>13}" for cell in cells)
