"""The speed of BLEU and self-BLEU against NLTK on a part of the work, and fast-bleu where it is installed."""

import itertools
import time
from collections.abc import Sequence

from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from seqgen.bench.timing import Case, Clock, Row, Timing, interleaved
from seqgen.metrics.bleu import bleu, self_bleu

Sentences = Sequence[Sequence[str]]
SENTENCES = 10_000
NLTK_SENTENCES = 2
"""Sentences that NLTK scores; the time of all is that times their number."""
ORDERS = range(2, 6)


def corpus(sentences: int = SENTENCES, seed: int = 0) -> tuple[list[list[str]], list[list[str]]]:
    """Draw sentences and as many references from the built-in corpus 'scenes', split at white space."""
    from seqgen.corpora import load

    lines = [line.split() for line in load("scenes").sample(2 * sentences, seed)]
    return lines[:sentences], lines[sentences:]


def run(hyps: Sentences, refs: Sentences, *, repeats: int = 3, clock: Clock = time.perf_counter) -> list[Row]:
    """Time BLEU-2 … 5 against references, and self-BLEU-2 … 5, each beside NLTK and fast-bleu."""
    few = list(itertools.islice(hyps, NLTK_SENTENCES))
    weights = {n: (1 / n,) * n for n in ORDERS}
    tasks: dict[str, dict[str, Case]] = {
        "BLEU-2…5": {
            "ours": (lambda: bleu(hyps, refs), 1),
            "NLTK": (lambda: [_nltk(hyp, refs) for hyp in few], 1),
        },
        "self-BLEU-2…5": {
            "ours": (lambda: self_bleu(hyps), 1),
            "NLTK": (lambda: [_nltk(hyps[i], [*hyps[:i], *hyps[i + 1 :]]) for i in range(len(few))], 1),
        },
    }
    try:
        import fast_bleu
    except ImportError:
        pass
    else:
        tasks["BLEU-2…5"]["fast-bleu"] = (lambda: fast_bleu.BLEU(refs, weights).get_score(hyps), 1)
        tasks["self-BLEU-2…5"]["fast-bleu"] = (lambda: fast_bleu.SelfBLEU(hyps, weights).get_score(), 1)
    rows = []
    for task, cases in tasks.items():
        timings = interleaved(cases, repeats=repeats, clock=clock)
        timings["NLTK"] = _scaled(timings["NLTK"], len(hyps) / len(few))
        rows += [
            Row(f"{task}, naive: {name}", "sentences", len(hyps), timings[name], timings["ours"])
            for name in cases
            if name != "ours"
        ]
    return rows


def _nltk(hyp: Sequence[str], refs: Sentences) -> list[float]:
    method1 = SmoothingFunction().method1
    return [sentence_bleu(refs, hyp, (1 / n,) * n, method1) for n in ORDERS]


def _scaled(timing: Timing, factor: float) -> Timing:
    return Timing(timing.median * factor, timing.least * factor, timing.most * factor)
