"""The generator: one step at a time is all at once, and it is the network its docstring says."""

from itertools import product

import pytest
import torch
from torch import nn

from seqgen.data.tokenizer import BOS, PAD
from seqgen.models import recurrent_layers
from seqgen.models.recurrent_layers import FEW_ROWS
from seqgen.models.rnn_generator import RNNGenerator
from seqgen.models.state import branch, repeat, select
from seqgen.models.vocab_head import VocabHead

B, T, V, E, H = 3, 5, 23, 7, 11


def generator(**options) -> RNNGenerator:
    torch.manual_seed(0)
    return RNNGenerator(V, E, H, **options)


def ids(batch: int = B, length: int = T) -> torch.Tensor:
    return torch.randint(V, (batch, length), generator=torch.Generator().manual_seed(1))


SHAPES = [
    {"cell": cell, "layers": layers, "attention": attention, "tied": tied}
    for cell, layers, attention, tied in product(("lstm", "gru"), (1, 2), (False, True), (False, True))
]


@pytest.mark.parametrize("options", SHAPES, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_step_by_step_equals_teacher_forcing(options):
    g = generator(**options)
    logits, end = g(ids(), g.initial(B))
    assert logits.shape == (B, T, V)
    state, steps = g.initial(B), []
    for t in range(T):
        one, state = g(ids()[:, t : t + 1], state)
        steps.append(one)
    torch.testing.assert_close(torch.cat(steps, dim=1), logits, rtol=1e-4, atol=1e-5)
    for part, other in zip(state, end, strict=True):
        assert part.shape[0] == B
        torch.testing.assert_close(part, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", SHAPES, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_steps_by_cells_are_those_of_the_layers(options, monkeypatch):
    g = generator(**options).eval()
    expected, end = g(ids(), g.initial(B))
    calls = []
    monkeypatch.setattr(recurrent_layers, "is_host", lambda device: False)
    monkeypatch.setattr(g.rnn, "forward", lambda *given: calls.append(given))
    state, steps = g.initial(B), []
    with torch.no_grad():
        for t in range(T):
            one, state = g(ids()[:, t : t + 1], state)
            steps.append(one)
    assert not calls
    torch.testing.assert_close(torch.cat(steps, dim=1), expected.detach(), rtol=1e-4, atol=1e-5)
    for part, other in zip(state, end, strict=True):
        torch.testing.assert_close(part, other.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [B, 379], ids=["bare cell", "layer"])
def test_steps_without_gradient_equal_teacher_forcing(batch):
    g = generator(attention=True)
    assert (batch <= FEW_ROWS) == (batch == B)
    expected, (h, c, *_) = g(ids(batch), g.initial(batch))
    state, steps = g.initial(batch), []
    with torch.no_grad():
        for t in range(T):
            one, state = g(ids(batch)[:, t : t + 1], state)
            steps.append(one)
    torch.testing.assert_close(torch.cat(steps, dim=1), expected.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state[:2], (h.detach(), c.detach()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", SHAPES[:8], ids=lambda o: "-".join(str(v) for v in o.values()))
def test_states_branch_by_rows(options):
    g = generator(**options)
    _, state = g.hidden(ids(), g.initial(B))
    both = branch(select(state, torch.tensor([2, 0, 1])), slice(2, 3), 2)
    after, _ = g.hidden(ids(5, 2), both)
    for place, row in enumerate((2, 0, 1, 1, 1)):
        alone, _ = g.hidden(ids(5, 2)[place : place + 1], select(state, slice(row, row + 1)))
        torch.testing.assert_close(after[place : place + 1], alone, rtol=1e-4, atol=1e-5)


def test_repeat_keeps_copies_together():
    assert repeat((torch.tensor([[3], [4]]),), 2)[0].tolist() == [[3], [3], [4], [4]]


def test_lstm_is_a_loop_of_cells():
    g = generator()
    cell = nn.LSTMCell(E, H)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in g.rnn.state_dict().items()})
    h, c = torch.zeros(B, H), torch.zeros(B, H)
    for t in range(T):
        h, c = cell(g.embedding.weight[ids()[:, t]], (h, c))
    hidden, state = g.hidden(ids(), g.initial(B))
    torch.testing.assert_close(hidden[:, -1], h, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(state[1][:, 0], c, rtol=1e-4, atol=1e-6)
    expected = h @ g.head.weight.t() + g.head.offset
    expected[:, [PAD, BOS]] -= 1e4
    torch.testing.assert_close(g.head(h), expected, rtol=1e-5, atol=1e-5)


def test_attention_looks_back_only():
    g = generator(attention=True)
    changed = ids().clone()
    changed[:, 3] = (changed[:, 3] + 1) % V
    before, _ = g.hidden(ids(), g.initial(B))
    after, _ = g.hidden(changed, g.initial(B))
    torch.testing.assert_close(before[:, :3], after[:, :3], rtol=0, atol=0)
    assert not torch.equal(before[:, 3], after[:, 3])


def test_attention_is_a_weighted_mean_of_values():
    attention = generator(attention=True).attention
    assert attention is not None
    states = torch.randn(1, 3, H)
    result, keys, values = attention(states, states.new_zeros(1, 0, H), states.new_zeros(1, 0, H))
    scores = keys[0, :2] @ attention.query(states[0, 1]) / H**0.5
    context = torch.softmax(scores, dim=0) @ values[0, :2]
    torch.testing.assert_close(result[0, 1], states[0, 1] + attention.merge(context), rtol=1e-4, atol=1e-5)


def test_soft_one_hots_mix_embeddings():
    g = generator()
    hard, _ = g(ids(), g.initial(B))
    soft, _ = g(nn.functional.one_hot(ids(), V).float(), g.initial(B))
    torch.testing.assert_close(soft, hard, rtol=1e-5, atol=1e-5)


def test_pad_and_bos_have_no_probability_and_no_gradient():
    head = VocabHead(H, V)
    assert head.bias.shape == (V,)
    with torch.no_grad():
        head.offset += 3
    probs = torch.softmax(head(torch.randn(B, H)), dim=-1)
    assert (probs[:, [PAD, BOS]] == 0).all()
    probs[:, 5].log().sum().backward()
    assert head.offset.grad is not None
    assert (head.offset.grad[[PAD, BOS]] == 0).all()
    assert "ruled_out" not in head.state_dict()


def test_tied_weights_are_one_parameter():
    g = generator(tied=True)
    assert g.head.weight is g.embedding.weight
    assert generator(tied=True).projection is not None
    assert RNNGenerator(V, H, H, tied=True).projection is None


def test_dropout_only_in_training():
    g = generator(dropout=0.5, layers=2)
    one, _ = g.hidden(ids(), g.initial(B))
    two, _ = g.hidden(ids(), g.initial(B))
    assert not torch.equal(one, two)
    g.eval()
    torch.testing.assert_close(g(ids(), g.initial(B)), g(ids(), g.initial(B)), rtol=0, atol=0)


def test_unknown_cell_names_the_allowed():
    with pytest.raises(ValueError, match="no cell 'rnn'; allowed: lstm, gru"):
        generator(cell="rnn")


@pytest.mark.cuda
@pytest.mark.parametrize("options", SHAPES[:8], ids=lambda o: "-".join(str(v) for v in o.values()))
def test_cuda_equals_cpu(options):
    g = generator(**options)
    expected, _ = g(ids(), g.initial(B))
    g.cuda()
    logits, _ = g(ids().cuda(), g.initial(B))
    torch.testing.assert_close(logits.cpu(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.cuda
@pytest.mark.parametrize("options", SHAPES[:8], ids=lambda o: "-".join(str(v) for v in o.values()))
def test_autocast_gives_bfloat16_on_cuda_whole_and_step_by_step(options):
    """Autocast runs cuDNN's layers in float16 whatever it is asked for, and float16 ends at 65,504."""
    g = generator(**options).cuda()
    with torch.autocast("cuda", torch.bfloat16):
        hidden, state = g.hidden(ids().cuda(), g.initial(B))
        hidden.float().square().mean().backward()
        with torch.no_grad():
            step, _ = g.hidden(ids().cuda()[:, :1], state)
    assert hidden.dtype == step.dtype == torch.bfloat16
    assert all(w.grad is None or w.grad.isfinite().all() for w in g.parameters())
    with torch.no_grad():
        expected, _ = g.hidden(ids().cuda(), g.initial(B))
    torch.testing.assert_close(hidden.float(), expected, rtol=0, atol=0.05)


def test_representations_are_what_the_head_reads_before_its_dropout():
    g = generator(layers=2, tied=True, dropout=0.5)
    g.head.scale.fill_(0.7)
    torch.manual_seed(3)
    represented, _ = g.representations(ids(), g.initial(B))
    torch.manual_seed(3)
    read, _ = g.hidden(ids(), g.initial(B))  # the same dropout of embeddings, then one more
    kept = read != 0
    assert (represented != 0).all()
    assert 0.2 < kept.float().mean() < 0.8
    torch.testing.assert_close(read[kept], 2 * represented[kept])
    g.eval()
    assert torch.equal(g.representations(ids(), g.initial(B))[0], g.hidden(ids(), g.initial(B))[0])
