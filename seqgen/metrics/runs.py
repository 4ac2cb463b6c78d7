"""The evaluation of a trained run: its samples, and the likelihood of its corpus' test split."""

from seqgen.corpora import load as load_grammar
from seqgen.errors import UserError
from seqgen.ids import encode_lines
from seqgen.metrics.evaluation import Report, evaluate
from seqgen.metrics.likelihood import Likelihood, bounded_batches, generator_likelihood
from seqgen.trained import Trained, generate


def evaluate_run(
    trained: Trained,
    *,
    n: int = 10_000,
    temperature: float = 1.0,
    seed: int = 0,
    tokenisation: str = "auto",
) -> Report:
    """Score n samples of a run against its corpus' test split, beside its training sentences.

    The whole test split, uncut, gives `nll_test`; the samples' log-probabilities at temperature 1 give
    `nll_gen`. UserError where the corpus has changed or holds no test sentence.
    """
    corpus = trained.corpus
    if not len(corpus.test):
        raise UserError(f"corpus '{corpus.name}' has no test sentence; name a file of them with --test")
    sentences = list(generate(trained, n, seed=seed, temperature=temperature, with_log_prob=True))
    nats = -sum(sentence.log_prob or 0.0 for sentence in sentences)
    return evaluate(
        [sentence.text for sentence in sentences],
        corpus.test,
        corpus.train,
        tokenisation=tokenisation,
        seed=seed,
        protocol={
            "hypotheses_from": str(trained.run.path),
            "references_from": f"test split of {corpus.name}",
            "train_from": corpus.name,
            "corpus_hash": corpus.hash,
            "temperature": temperature,
        },
        nll_test=test_likelihood(trained),
        nll_gen=Likelihood(nats, sum(sentence.tokens for sentence in sentences), len(sentences)),
        grammar=load_grammar(corpus.grammar) if corpus.grammar else None,
    )


def test_likelihood(trained: Trained) -> Likelihood:
    """Measure the likelihood of a run's whole test split, sentences of any length."""
    ids = encode_lines(trained.corpus.test, trained.tokenizer)
    batches = (tokens.to(trained.device) for tokens in bounded_batches(ids))
    return generator_likelihood(trained.algorithm.generator, batches)
