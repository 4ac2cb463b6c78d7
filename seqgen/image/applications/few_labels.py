"""Learning from few labels: classifiers of a model's latents, and the same classifiers of raw pixels.

The model was trained on all training images without labels; the classifier is trained on the few labelled
ones, as in model M1 of Kingma et al. 2014 (Semi-supervised learning with deep generative models). Both inputs
are centred and scaled by one number of the training images, and the hyperparameter of each classifier is
chosen by cross-validation on the labelled images.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqgen.core.errors import UserError
from seqgen.image.applications.latent import check_encoder, encode_images
from seqgen.image.data.dataset import ImageData, Images
from seqgen.image.runs.load import TrainedImages

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

FOLDS = 5
CLASSIFIERS = ("neighbours", "logistic", "svm")


@dataclass(frozen=True)
class Accuracies:
    """The accuracy of a classifier on one kind of input, over draws of the labelled images."""

    labels: int
    """labelled images, as many of each class"""
    input: str
    """what the classifier gets: `pixels` or `latents` here, the training set in `augmentation`"""
    classifier: str
    """`neighbours`, `logistic`, `svm`, or `conv net` in `augmentation`"""
    accuracies: list[float]
    """on the test images, one for each draw"""

    @property
    def mean(self) -> float:
        """The mean over draws."""
        return float(np.mean(self.accuracies))

    @property
    def standard_deviation(self) -> float:
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
    """Yield the accuracy of every classifier on latents and on pixels, for each number of labels.

    Args:
        classifiers: `neighbours`, `logistic` (linear), `svm` (radial kernel).

    UserError where the model has no encoder, the data no labels, or a class too few images.
    """
    data = trained.data
    if trained.model.config.conditional:
        raise UserError(
            f"run '{trained.run.path}' is conditional: its encoder gets the labels that are to be "
            "predicted; use a run without conditional"
        )
    check_encoder(trained)
    splits = data.train, labelled_rows(data)
    train_labels, test_labels = (split.labels.numpy() for split in splits)
    check_counts(train_labels, counts)
    inputs = {
        "pixels": [split.pixels.flatten(1).double().numpy() / 255 for split in splits],
        "latents": [encode_images(trained, split).double().numpy() for split in splits],
    }
    scaled = {name: _scale(*both) for name, both in inputs.items()}
    for count in counts:
        rng = np.random.default_rng([seed, count])
        chosen = [labelled(train_labels, count, rng) for _ in range(draws)]
        for name, (train, test) in scaled.items():
            for classifier in classifiers:
                accuracies = []
                for rows in chosen:
                    fitted = fit_classifier(classifier, train[rows], train_labels[rows])
                    accuracies.append(float((fitted.predict(test) == test_labels).mean()))
                row = Accuracies(count, name, classifier, accuracies)
                notify(f"{count} labels, {name}, {classifier}: {row.mean:.1%}")
                yield row


def table(rows: Sequence[Accuracies]) -> list[str]:
    """Lay accuracies out as lines, with their mean and standard deviation over draws, in %."""
    cells: list[tuple[str, ...]] = [("labels", "input", "classifier", "accuracy %", "sd", "draws")]
    for row in rows:
        numbers = (f"{100 * row.mean:.1f}", f"{100 * row.standard_deviation:.1f}", str(len(row.accuracies)))
        cells.append((f"{row.labels:,}", row.input, row.classifier, *numbers))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def labelled_rows(data: ImageData) -> Images:
    """Return the test images that have a label; UserError where there are none to measure an accuracy on."""
    test = data.test.rows(data.test.labels >= 0)
    if not len(test):
        raise UserError(
            f"no test image of '{data.name}' has a label, so that no accuracy can be measured; add labels"
        )
    return test


def check_counts(labels: np.ndarray, counts: Sequence[int]) -> None:
    """Raise UserError where one of the numbers of labelled images cannot be drawn."""
    for count in counts:
        labelled(labels, count, np.random.default_rng(0))


def labelled(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` rows, as many of each class; (N,) → (count,). UserError where that cannot be."""
    classes = np.unique(labels[labels >= 0])
    if not len(classes):
        raise UserError("the data have no labels; use data with labels, such as digits or mnist")
    each, remainder = divmod(count, len(classes))
    if remainder or each < 2:
        raise UserError(
            f"{count} labels cannot be divided among {len(classes)} classes; "
            f"give a multiple of {len(classes)} from {2 * len(classes)} on"
        )
    fewest = min(int((labels == label).sum()) for label in classes)
    if each > fewest:
        raise UserError(
            f"{count} labels are {each} of each class, and one class has {fewest} training images; "
            f"give at most {fewest * len(classes)}"
        )
    return np.concatenate([rng.choice(np.flatnonzero(labels == c), each, replace=False) for c in classes])


def fit_classifier(classifier: str, inputs: np.ndarray, labels: np.ndarray) -> "ClassifierMixin":
    """Fit a classifier to inputs (N, D) and labels (N,), with a hyperparameter chosen by cross-validation."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    fewest = int(np.unique(labels, return_counts=True)[1].min())
    estimator, grid = _estimators(fewest)[classifier]
    splits = StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 300 iterations of a classifier are enough here
        return GridSearchCV(estimator, grid, cv=splits).fit(inputs, labels)


def _estimators(fewest: int) -> dict[str, tuple[Any, dict[str, list[Any]]]]:
    """Return each classifier with the values of its hyperparameter; a class has `fewest` images or more."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    return {
        "neighbours": (KNeighborsClassifier(), {"n_neighbors": [k for k in (1, 3, 5) if k <= fewest]}),
        "logistic": (LogisticRegression(max_iter=300), {"C": [0.01, 0.1, 1.0, 10.0]}),
        "svm": (SVC(), {"C": [1.0, 3.0, 10.0, 30.0]}),
    }


def _scale(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre inputs and scale them by one number, so that dimensions of little variance stay small."""
    mean = train.mean(axis=0)
    scale = math.sqrt((train - mean).var(axis=0).mean()) or 1.0
    return (train - mean) / scale, (test - mean) / scale
