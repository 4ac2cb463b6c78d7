import itertools

import pytest
import torch
from helpers import GENERATOR_KINDS, GENERATORS, generator
from torch import Tensor, nn

from seqgen.data.tokenizer import EOS, PAD
from seqgen.models.base import GeneratorConfig
from seqgen.models.discriminator import (
    PAPER_FILTERS,
    CNNDiscriminator,
    MultiEmbeddingDiscriminator,
    RNNDiscriminator,
    TrunkDiscriminator,
    scores,
    shaped_as,
    take_over_layers,
)
from seqgen.models.prefix_cnn import PrefixCNNDiscriminator

VOCAB, EMBEDDING, HIDDEN = 11, 3, 5
TOKENS = torch.tensor(
    [
        [4, 5, 6, 7, 8, 9, EOS],
        [4, EOS, PAD, PAD, PAD, PAD, PAD],
        [EOS, PAD, PAD, PAD, PAD, PAD, PAD],
        [9, 8, 7, 6, 5, 4, 10],
        [3, 3, 10, EOS, PAD, PAD, PAD],
    ]
)
LENGTHS = [7, 2, 1, 7, 4]


def rnn(**options) -> RNNDiscriminator:
    torch.manual_seed(0)
    return RNNDiscriminator(VOCAB, EMBEDDING, HIDDEN, **options)


def cnn(**options) -> CNNDiscriminator:
    torch.manual_seed(0)
    return CNNDiscriminator(VOCAB, EMBEDDING, **{"scale": 0.02, **options})


def prefix_cnn(**options) -> PrefixCNNDiscriminator:
    torch.manual_seed(0)
    return PrefixCNNDiscriminator(VOCAB, EMBEDDING, **{"scale": 0.02, **options})


def trunk(kind: str, **options) -> TrunkDiscriminator:
    return TrunkDiscriminator(generator(kind, VOCAB, **options), **options)


MAKE = {
    "transformer": lambda **options: trunk("transformer", **options),
    "relational memory": lambda **options: trunk("relational-memory", **options),
    "lstm": rnn,
    "gru": lambda **options: rnn(cell="gru", **options),
    "two layers": lambda **options: rnn(layers=2, **options),
    "bidirectional": lambda **options: rnn(bidirectional=True, **options),
    "bidirectional gru, two layers": lambda **options: rnn(
        bidirectional=True, cell="gru", layers=2, **options
    ),
    "cnn": cnn,
    "prefix cnn": prefix_cnn,
}
every = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE.keys())


@every
def test_padding_is_irrelevant(make):
    discriminator = make().eval()
    logits = discriminator(TOKENS)
    assert logits.shape == (5,)
    padded = torch.cat((TOKENS, torch.full((5, 13), PAD)), dim=1)
    torch.testing.assert_close(discriminator(padded), logits, rtol=1e-5, atol=1e-6)
    for row, length in enumerate(LENGTHS):
        alone = discriminator(TOKENS[row : row + 1, :length])
        torch.testing.assert_close(alone, logits[row : row + 1], rtol=1e-5, atol=1e-6)


@every
def test_what_stands_where_matters(make):
    discriminator = make().eval()
    logits = discriminator(torch.tensor([[4, 5, 6, EOS], [4, 6, 5, EOS], [4, 5, EOS, PAD], [4, 5, 6, 7]]))
    for a, b in itertools.combinations(logits.tolist(), 2):
        assert abs(a - b) > 1e-6


@every
def test_soft_one_hots_are_read_as_ids_and_pass_gradients(make):
    discriminator = make().eval()
    soft = nn.functional.one_hot(TOKENS, VOCAB).float().requires_grad_()
    logits = discriminator(soft)
    torch.testing.assert_close(logits, discriminator(TOKENS), rtol=1e-5, atol=1e-6)
    logits.sum().backward()
    moved = soft.grad.abs().sum(dim=-1) > 0
    assert torch.equal(moved[0], torch.ones(7, dtype=torch.bool))  # every position of a full sentence
    assert not moved[TOKENS == PAD].any()


@every
def test_every_parameter_gets_a_gradient(make):
    discriminator = make()
    discriminator(TOKENS).square().sum().backward()
    for name, parameter in discriminator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@every
def test_dropout_makes_training_differ_from_evaluation(make):
    discriminator = make(dropout=0.5)
    assert not torch.equal(discriminator(TOKENS), discriminator(TOKENS))
    discriminator.eval()
    assert torch.equal(discriminator(TOKENS), discriminator(TOKENS))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_dropout_stands_at_the_embeddings_and_before_the_logit(bidirectional):
    discriminator, shapes = rnn(bidirectional=bidirectional), []
    discriminator.dropout.register_forward_hook(lambda module, given, result: shapes.append(result.shape))
    discriminator(TOKENS)
    assert shapes == [(5, 7, EMBEDDING), (5, HIDDEN * (1 + bidirectional))]


def run_cell(cell: nn.LSTMCell, embedded: Tensor) -> Tensor:
    h, c = torch.zeros(1, HIDDEN), torch.zeros(1, HIDDEN)
    for vector in embedded:
        h, c = cell(vector[None], (h, c))
    return h[0]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_lstm_equals_a_loop_of_cells_over_real_tokens(bidirectional):
    discriminator = rnn(bidirectional=bidirectional)
    cells = []
    for layers in (discriminator.rnn, discriminator.backwards)[: 1 + bidirectional]:
        cell = nn.LSTMCell(EMBEDDING, HIDDEN)
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, part).data = getattr(layers, f"{part}_l0").data
        cells.append(cell)
    logits = discriminator(TOKENS)
    for row, length in enumerate(LENGTHS):
        embedded = discriminator.embedding.weight[TOKENS[row, :length]]
        states = [
            run_cell(cell, part) for cell, part in zip(cells, (embedded, embedded.flip(0)), strict=False)
        ]
        expected = discriminator.output.weight[0] @ torch.cat(states) + discriminator.output.bias[0]
        torch.testing.assert_close(logits[row], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"cell": "gru"}, {"layers": 2}])
def test_reading_by_pieces_equals_reading_at_once(options):
    discriminator = rnn(**options).eval()
    whole, end = discriminator.read(TOKENS, discriminator.initial(5))
    assert whole.shape == (5, 7, HIDDEN)
    state, pieces = discriminator.initial(5), []
    for piece in TOKENS.split([1, 2, 1, 3], dim=1):
        features, state = discriminator.read(piece, state)
        pieces.append(features)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-5, atol=1e-6)
    for part, expected in zip(state, end, strict=True):
        assert part.shape[0] == 5
        torch.testing.assert_close(part, expected, rtol=1e-5, atol=1e-6)
    logits = discriminator.score(whole)  # of every prefix
    torch.testing.assert_close(logits[0, -1], discriminator(TOKENS)[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits[4, 3], discriminator(TOKENS)[4], rtol=1e-5, atol=1e-6)


def test_bidirectional_reads_whole_sentences_only():
    with pytest.raises(ValueError, match="read whole sentences"):
        rnn(bidirectional=True).initial(2)


def test_unknown_cell_is_named():
    with pytest.raises(ValueError, match="no cell 'rnn'; allowed: lstm, gru"):
        rnn(cell="rnn")


def test_a_row_without_tokens_gives_a_finite_logit():
    nothing = torch.full((2, 3), PAD)
    for make in MAKE.values():
        assert make()(nothing).isfinite().all()


def multi_embedding(**options) -> MultiEmbeddingDiscriminator:
    torch.manual_seed(0)
    return MultiEmbeddingDiscriminator(VOCAB, 3, 2, filters=5, **options)


def test_several_embeddings_have_a_logit_each_whatever_the_padding():
    net = multi_embedding().eval()
    with torch.no_grad():
        for convolution in net.convolutions:
            convolution.bias.fill_(0.7)  # so that windows of padding are strong
    logits = net(TOKENS)
    assert logits.shape == (5 * 3,)
    for more in (1, 13):
        padded = torch.cat((TOKENS, torch.full((5, more), PAD)), dim=1)
        torch.testing.assert_close(net(padded), logits, rtol=1e-5, atol=1e-6)
    for row, length in enumerate(LENGTHS):
        alone = net(TOKENS[row : row + 1, :length])
        torch.testing.assert_close(alone, logits[3 * row : 3 * row + 3], rtol=1e-5, atol=1e-6)


def test_several_embeddings_read_one_hots_as_ids_and_pass_gradients():
    net = multi_embedding().eval()
    soft = nn.functional.one_hot(TOKENS, VOCAB).float().requires_grad_()
    logits = net(soft)
    torch.testing.assert_close(logits, net(TOKENS), rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(logits.square().sum(), soft)
    assert gradient[TOKENS != PAD].abs().sum() > 0
    assert not gradient[TOKENS == PAD].any()


def test_each_embedding_is_read_by_the_same_filters_and_by_itself():
    net = multi_embedding().eval()
    logits = net(TOKENS).detach().view(5, 3)
    with torch.no_grad():
        table = net.embedding.weight.view(VOCAB, 3, 2)
        table[:, 1] = table[:, 0]  # the second embedding becomes the first
    after = net(TOKENS).detach().view(5, 3)
    torch.testing.assert_close(after[:, 1], logits[:, 0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(after[:, [0, 2]], logits[:, [0, 2]], rtol=1e-5, atol=1e-6)


def hand_made_cnn() -> CNNDiscriminator:
    discriminator = CNNDiscriminator(6, 1, filters={2: 1}, dropout=0.0)
    with torch.no_grad():
        discriminator.embedding.weight[:, 0] = torch.tensor([100.0, 0.0, -1.0, 0.5, 1.0, 2.0])
        discriminator.convolutions[0].weight[:] = torch.tensor([[[1.0, -1.0]]])  # x[t] - x[t + 1]
        discriminator.convolutions[0].bias[:] = 0.25
        discriminator.transform.weight[:], discriminator.transform.bias[:] = 2.0, 0.0
        discriminator.gate.weight[:], discriminator.gate.bias[:] = 0.0, 0.0  # half is carried on
        discriminator.output.weight[:], discriminator.output.bias[:] = 3.0, -1.0
    return discriminator


def test_cnn_by_hand():
    discriminator = hand_made_cnn()
    tokens = torch.tensor([[4, 5, EOS, PAD], [5, 4, 3, 5], [EOS, PAD, PAD, PAD]])
    # 1, 2, -1: windows 1 - 2 + 0.25 and 2 + 1 + 0.25 = 3.25; highway ½ · 2 · 3.25 + ½ · 3.25 = 4.875; · 3 - 1
    # 2, 1, .5, 2: the largest is 2 - 1 + 0.25 = 1.25; 1.875; · 3 - 1
    # -1 and a zero: -1 - 0 + 0.25 < 0 gives 0
    torch.testing.assert_close(discriminator(tokens), torch.tensor([13.625, 4.625, -1.0]), rtol=1e-6, atol=0)
    assert discriminator.penalty().item() == pytest.approx(0.2 * (9 + 1) / 2)
    with torch.no_grad():
        discriminator.transform.weight[:] = -2.0  # below 0, so only ½ · 3.25 is carried on
    torch.testing.assert_close(discriminator(tokens[:1]), torch.tensor([3.875]), rtol=1e-6, atol=0)


def test_cnn_reads_no_window_beyond_the_sentence():
    discriminator = hand_made_cnn()
    # The window of the last token and a zero, 2 - 0 + 0.25, would win.
    logits = discriminator(torch.tensor([[5, 5, PAD, PAD]]))
    torch.testing.assert_close(logits, torch.tensor([0.25 * 1.5 * 3 - 1]), rtol=1e-6, atol=0)


def test_cnn_has_the_filters_of_the_paper():
    assert sum(PAPER_FILTERS.values()) == 1720
    discriminator = CNNDiscriminator(VOCAB, EMBEDDING, scale=0.1)
    assert [c.kernel_size[0] for c in discriminator.convolutions] == [*range(1, 11), 15, 20]
    assert [c.out_channels for c in discriminator.convolutions] == [10, 20, 20, 20, 20, *[10] * 5, 16, 16]


@pytest.mark.parametrize("name", ["lstm", "bidirectional", "cnn"])
def test_learns_which_order_is_real(name):
    torch.manual_seed(1)
    discriminator = MAKE[name]()
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=0.02)
    for _ in range(150):
        a = torch.randint(3, VOCAB, (64, 1))
        b = torch.randint(3, VOCAB, (64, 1))
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        real, fake = torch.cat((low, high), dim=1), torch.cat((high, low), dim=1)
        logits = torch.cat((discriminator(real), discriminator(fake)))
        kept = (a != b)[:, 0].repeat(2)
        labels = torch.cat((torch.ones(64), torch.zeros(64)))
        loss = nn.functional.binary_cross_entropy_with_logits(logits[kept], labels[kept])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.35


@pytest.mark.parametrize("options", [{}, {"cell": "gru", "layers": 2}, {"bidirectional": True}])
def test_an_embedding_in_place_of_the_logit(options):
    encoder = rnn(projection_dim=3, **options).eval()
    embeddings = encoder(TOKENS)
    assert embeddings.shape == (5, 3)
    padded = torch.cat((TOKENS, torch.full((5, 13), PAD)), dim=1)
    torch.testing.assert_close(encoder(padded), embeddings, rtol=1e-5, atol=1e-6)
    first, _, last, norm = encoder.output
    norm.running_mean.uniform_()
    norm.running_var.uniform_()
    embeddings = encoder(TOKENS)
    encoder.output, encoder.projection_dim = nn.Identity(), HIDDEN
    features = encoder(TOKENS)
    plain = last(torch.relu(first(features)))
    normalised = (plain - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(embeddings, normalised)
    assert first.weight.shape == (features.shape[1], features.shape[1])


def test_embeddings_are_normalised_over_a_batch_while_it_learns_and_alone_when_it_scores():
    encoder = rnn(projection_dim=3)
    embeddings = encoder(TOKENS)
    torch.testing.assert_close(embeddings.mean(dim=0), torch.zeros(3), rtol=0, atol=1e-5)
    encoder.eval()
    torch.testing.assert_close(encoder(TOKENS[:1]), encoder(TOKENS)[:1])


def test_scores_are_those_of_evaluation_and_leave_the_mode_alone():
    torch.manual_seed(0)
    discriminator = RNNDiscriminator(7, 2, 3, dropout=0.5)
    tokens = torch.tensor([[4, 5, EOS], [6, EOS, PAD], [3, 4, 5], [EOS, PAD, PAD], [6, 6, EOS]])
    discriminator.eval()
    expected = discriminator(tokens).detach()
    discriminator.train()
    discriminator.rnn.eval()
    for rows in (1, 2, 5, 11):
        logits = scores(discriminator, tokens, rows=rows)
        assert not logits.requires_grad
        torch.testing.assert_close(logits, expected, rtol=1e-6, atol=1e-7)
    assert discriminator.training
    assert discriminator.dropout.training
    assert not discriminator.rnn.training


def test_scores_of_no_sentence():
    discriminator = RNNDiscriminator(7, 2, 3)
    assert scores(discriminator, torch.empty(0, 3, dtype=torch.long)).shape == (0,)


def test_scores_reads_a_bounded_number_of_rows_at_a_time():
    seen = []

    class Watched(torch.nn.Module):
        def forward(self, tokens):
            seen.append(len(tokens))
            return tokens[:, 0].float()

    tokens = torch.arange(11)[:, None]
    assert torch.equal(scores(Watched(), tokens, rows=4), torch.arange(11.0))
    assert seen == [4, 4, 3]


@pytest.mark.parametrize("kind", ["transformer", "relational-memory"])
def test_a_trunk_read_by_pieces_is_the_trunk_read_at_once(kind):
    net = trunk(kind).eval()
    whole, _ = net.read(TOKENS, net.initial(5))
    state, pieces = net.initial(5), []
    for piece in TOKENS.split([1, 2, 1, 3], dim=1):
        features, state = net.read(piece, state)
        pieces.append(features)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.score(whole)[4, 3], net(TOKENS)[4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", GENERATOR_KINDS)
@pytest.mark.parametrize("projection_dim", [0, 3])
def test_a_discriminator_shaped_as_a_generator_takes_its_layers_over(kind, projection_dim):
    values = GENERATORS[kind] | {"dropout": 0.3, "tied": True}
    config = GeneratorConfig.of_kind(kind)(kind=kind, **values)
    net = shaped_as(config, VOCAB, dropout=0.5, projection_dim=projection_dim).eval()
    assert net.reads_prefixes
    assert net(TOKENS).shape == ((5, 3) if projection_dim else (5,))
    source = config.build(VOCAB).eval()
    take_over_layers(net, source)
    features, _ = net.read(TOKENS, net.initial(5))
    torch.testing.assert_close(features, source.features(TOKENS, source.initial(5))[0], rtol=1e-5, atol=1e-6)
    assert not any(name.startswith(("trunk.head", "trunk.projection")) for name in net.state_dict())
