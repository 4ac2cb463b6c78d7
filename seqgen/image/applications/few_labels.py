"""Learning from few labels: classifiers of a model's codes beside the same classifiers of raw pixels.

The model has learned from all training images and no label; the classifier sees the labelled few, as in model
M1 of Kingma et al. 2014 (Semi-supervised learning with deep generative models). Both inputs are treated
alike: centred and scaled as one by the training images, every classifier's one setting chosen by
cross-validation among the labelled few.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgen.core.errors import UserError
from seqgen.image.applications.latent import encoded
from seqgen.image.runs.load import TrainedImages

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

FOLDS = 5
CLASSIFIERS = ("neighbours", "logistic", "svm")


@dataclass(frozen=True)
class Accuracies:
    """The accuracy of a classifier that learns from one thing, over draws of the labelled images."""

    labels: int
    """labelled images, as many of each class"""
    input: str
    """what it learns from"""
    classifier: str
    """what kind it is"""
    accuracies: list[float]
    """shares of the test images classified rightly, one a draw"""

    @property
    def mean(self) -> float:
        """The mean over draws."""
        return float(np.mean(self.accuracies))

    @property
    def spread(self) -> float:
        """The standard deviation over draws; 0 for one draw."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else 0.0


def few_labels(
    trained: TrainedImages,
    counts: Sequence[int] = (100, 1000),
    *,
    draws: int = 10,
    seed: int = 0,
    classifiers: Sequence[str] = CLASSIFIERS,
    notify: Callable[[str], None] = lambda message: None,
) -> Iterator[Accuracies]:
    """Yield the accuracy of every classifier on codes and on pixels, for each number of labels.

    Args:
        classifiers: `neighbours`, `logistic` (linear), `svm` (radial kernel).

    UserError where the model has no codes, the data no labels, or a class too few images.
    """
    data = trained.data
    if trained.model.config.conditional:
        raise UserError(
            f"run '{trained.run.path}' is conditional: its codes are made with the labels that are to be "
            "found; take a run without conditional"
        )
    inputs = {
        "pixels": [split.pixels.flatten(1).double().numpy() / 255 for split in (data.train, data.test)],
        "codes": [encoded(trained, split).double().numpy() for split in (data.train, data.test)],
    }
    scaled = {name: _scaled(*both) for name, both in inputs.items()}
    truth, held = data.train.labels.numpy(), data.test.labels.numpy()
    for count in counts:
        rng = np.random.default_rng([seed, count])
        chosen = [labelled(truth, count, rng) for _ in range(draws)]
        for name, (train, test) in scaled.items():
            for classifier in classifiers:
                found = []
                for rows in chosen:
                    learned = fitted(classifier, train[rows], truth[rows])
                    found.append(float((learned.predict(test) == held).mean()))
                row = Accuracies(count, name, classifier, found)
                notify(f"{count} labels, {name}, {classifier}: {row.mean:.1%}")
                yield row


def table(rows: Sequence[Accuracies]) -> list[str]:
    """Lay accuracies out as lines, with their mean and standard deviation over draws, in %."""
    cells: list[tuple[str, ...]] = [("labels", "input", "classifier", "accuracy %", "sd", "draws")]
    for row in rows:
        figures = (f"{100 * row.mean:.1f}", f"{100 * row.spread:.1f}", str(len(row.accuracies)))
        cells.append((f"{row.labels:,}", row.input, row.classifier, *figures))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def labelled(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` rows, as many of each class; (N,) → (count,). UserError where that cannot be."""
    classes = np.unique(labels[labels >= 0])
    if not len(classes):
        raise UserError("the data have no labels; take data that have, such as digits or mnist")
    each, over = divmod(count, len(classes))
    if over or each < 2:
        raise UserError(
            f"{count} labels cannot be shared among {len(classes)} classes; "
            f"give a multiple of {len(classes)} from {2 * len(classes)} on"
        )
    fewest = min(int((labels == label).sum()) for label in classes)
    if each > fewest:
        raise UserError(
            f"{count} labels are {each} of each class, and one class has {fewest} training images; "
            f"give at most {fewest * len(classes)}"
        )
    return np.concatenate([rng.choice(np.flatnonzero(labels == c), each, replace=False) for c in classes])


def fitted(classifier: str, inputs: np.ndarray, labels: np.ndarray) -> "ClassifierMixin":
    """Return a classifier fitted to inputs (N, D) and labels (N,), its setting chosen by cross-validation."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    fewest = int(np.unique(labels, return_counts=True)[1].min())
    kind, settings = _kinds(fewest)[classifier]
    splits = StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 300 iterations of a classifier are enough here
        return GridSearchCV(kind, settings, cv=splits).fit(inputs, labels)


def _kinds(fewest: int) -> dict[str, tuple[Any, dict[str, list[Any]]]]:
    """Return each classifier and what its setting is chosen from; `fewest` images are of one class."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    return {
        "neighbours": (KNeighborsClassifier(), {"n_neighbors": [k for k in (1, 3, 5) if k <= fewest]}),
        "logistic": (LogisticRegression(max_iter=300), {"C": [0.01, 0.1, 1.0, 10.0]}),
        "svm": (SVC(), {"C": [1.0, 3.0, 10.0, 30.0]}),
    }


def _scaled(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre inputs and scale them by one number, so that units that say nothing stay small."""
    mean = train.mean(axis=0)
    size = math.sqrt((train - mean).var(axis=0).mean()) or 1.0
    return (train - mean) / size, (test - mean) / size
