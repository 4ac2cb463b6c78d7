"""In-filling: what stays, what is drawn and how often, and the likelihood of the words at blanks."""

import pytest
import torch
from helpers import GENERATOR_KINDS, V, chi_square, generator, sentences
from torch import nn

from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.generation.infill import NO_WORDS, blank_nll, infill, read_filled
from seqgen.models.token_reader import TokenReader

TEMPLATE = torch.tensor([[5, UNK, 7, UNK, EOS], [UNK, 9, EOS, PAD, PAD]])


def networks(kind="rnn", **options):
    made = generator(kind, **options).eval()
    return made, TokenReader(V, 5, 7, made.head.weight.shape[1], cell="gru", dropout=0.0).eval()


def logits_of(made, encoder, tokens, template):
    logits = made.head(read_filled(made, encoder, tokens, template))
    logits[..., list(NO_WORDS)] = -torch.inf
    return logits


@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_what_is_given_stays_and_words_have_the_probability_they_were_drawn_with(kind):
    made, encoder = networks(kind)
    found = infill(made, encoder, TEMPLATE.repeat(17, 1), rng=torch.Generator().manual_seed(1))
    template = TEMPLATE.repeat(17, 1)
    blanks = template == UNK
    assert torch.equal(found.tokens[~blanks], template[~blanks])
    assert not torch.isin(found.tokens[blanks], torch.tensor([PAD, 1, EOS, UNK])).any()
    log_probs = logits_of(made, encoder, found.tokens, template).log_softmax(dim=-1)
    expected = log_probs.gather(2, found.tokens[..., None])[..., 0].where(blanks, 0)
    torch.testing.assert_close(found.log_probs, expected, rtol=1e-4, atol=1e-5)


def test_words_are_drawn_as_often_as_they_are_likely():
    made, encoder = networks()
    template = TEMPLATE[1:].expand(4001, -1)
    drawn = infill(made, encoder, template, temperature=0.7, rng=torch.Generator().manual_seed(1)).tokens[
        :, 0
    ]
    probs = (logits_of(made, encoder, template[:1], template[:1])[0, 0] / 0.7).softmax(dim=-1)
    assert chi_square(drawn, probs.detach()) > 1e-3
    likeliest = infill(made, encoder, TEMPLATE[1:], temperature=0.0).tokens[0, 0]
    assert likeliest == probs.argmax()
    others = infill(made, encoder, template[:97], forbid=(int(likeliest),)).tokens[:, 0]
    assert not (others == likeliest).any()


def test_the_likelihood_of_blanks_by_full_logits():
    made, encoder = networks()
    tokens = torch.tensor([[5, 6, 7, 8, EOS], [UNK, 9, EOS, PAD, PAD]])  # an unknown word is no blank
    log_probs = logits_of(made, encoder, tokens, TEMPLATE).log_softmax(dim=-1)
    wanted = -(log_probs[0, 1, 6] + log_probs[0, 3, 8]) / 2
    assert blank_nll(made, encoder, tokens, TEMPLATE).item() == pytest.approx(wanted.item(), rel=1e-5)
    whole = sentences()
    assert blank_nll(made, encoder, whole, whole).item() == 0.0


def test_dropout_is_off_and_modes_come_back():
    made, encoder = networks(dropout=0.5)
    made.train(), encoder.train()
    encoder.dropout = nn.Dropout(0.5)
    one, two = (infill(made, encoder, TEMPLATE, temperature=0.0).tokens for _ in range(2))
    assert torch.equal(one, two)
    assert made.training
    assert encoder.training
