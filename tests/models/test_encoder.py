"""The encoder against a loop of cells, and what it must not depend on."""

import pytest
import torch
from torch import nn

from seqgen.data.tokenizer import EOS, PAD
from seqgen.models.encoder import RNNEncoder

V, E, H, Z = 13, 5, 7, 3
SENTENCES = torch.tensor([[5, 6, 7, 8, EOS], [9, EOS, PAD, PAD, PAD], [4, 10, 11, EOS, PAD]])


def build(**options):
    torch.manual_seed(0)
    return RNNEncoder(V, E, H, Z, **options).eval()


def last_state(rnn, cell, embedded):
    """Read one sentence (T, E) step by step; → the last hidden state."""
    weights = dict(zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), rnn.all_weights[0], strict=True))
    step = cell(E, H)
    step.load_state_dict(weights)
    state = None
    for each in embedded:
        state = step(each[None], state)
    return (state[0] if isinstance(state, tuple) else state)[0]


@pytest.mark.parametrize(("name", "cell"), [("lstm", nn.LSTMCell), ("gru", nn.GRUCell)])
def test_it_is_a_loop_of_cells_both_ways(name, cell):
    encoder = build(cell=name)
    mean, log_var = encoder(SENTENCES)
    for i, sentence in enumerate(SENTENCES):
        embedded = encoder.embedding(sentence[sentence != PAD])
        ends = torch.cat(
            (
                last_state(encoder.forwards, cell, embedded),
                last_state(encoder.backwards, cell, embedded.flip(0)),
            )
        )
        assert torch.allclose(mean[i], encoder.mean(ends), atol=1e-6)
        assert torch.allclose(log_var[i], encoder.log_var(ends), atol=1e-6)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_and_company_change_nothing(bidirectional):
    encoder = build(bidirectional=bidirectional)
    wider = torch.cat((SENTENCES, torch.full((3, 4), PAD)), dim=1)
    alone = torch.cat([encoder(row[row != PAD][None])[0] for row in SENTENCES])
    for mean in (encoder(wider)[0], alone):
        assert torch.allclose(mean, encoder(SENTENCES)[0], atol=1e-6)


def test_soft_one_hots_are_read_as_the_ids_they_stand_for():
    encoder = build()
    soft = nn.functional.one_hot(SENTENCES, V).float().requires_grad_()
    mean, log_var = encoder(soft)
    assert torch.allclose(mean, encoder(SENTENCES)[0], atol=1e-6)
    log_var.sum().backward()
    assert bool((soft.grad != 0).any())


def test_dropout_only_in_training():
    encoder = build(dropout=0.5)
    assert torch.equal(encoder(SENTENCES)[0], encoder(SENTENCES)[0])
    encoder.train()
    assert not torch.equal(encoder(SENTENCES)[0], encoder(SENTENCES)[0])


def test_an_unknown_cell_is_refused():
    with pytest.raises(ValueError, match="no cell 'rnn'; allowed: lstm, gru"):
        build(cell="rnn")


@pytest.mark.cuda
def test_on_cuda_it_is_the_same():
    encoder = build()
    mean, _ = encoder.cuda()(SENTENCES.cuda())
    assert torch.allclose(mean.cpu(), encoder.cpu()(SENTENCES)[0], atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooling_is_of_the_states_at_real_tokens(pooling, bidirectional):
    encoder = build(pooling=pooling, bidirectional=bidirectional)
    features = encoder.features(SENTENCES)
    for i, sentence in enumerate(SENTENCES):
        embedded = encoder.embedding(sentence[sentence != PAD])[None]
        states = encoder.forwards(embedded)[0][0]
        if bidirectional:
            states = torch.cat((states, encoder.backwards(embedded.flip(1))[0][0].flip(0)), dim=1)
        pooled = states.mean(dim=0) if pooling == "mean" else states.max(dim=0).values
        assert torch.allclose(features[i], pooled, atol=1e-6)
    wider = torch.cat((SENTENCES, torch.full((3, 4), PAD)), dim=1)
    assert torch.allclose(encoder.features(wider), features, atol=1e-6)
    features.sum().backward()
    assert all(p.grad.isfinite().all() for p in encoder.forwards.parameters())
