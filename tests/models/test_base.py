"""What every kind of generator does: reading at once or by steps, causally; its state; the setting `kind`."""

import pytest
import torch
from helpers import GENERATOR_KINDS, LENGTH, V, Z, generator, sentences
from torch import nn

from seqgen import algorithms
from seqgen.algorithms.mle import MLEConfig
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.models.base import Generator, GeneratorConfig, state_bytes
from seqgen.models.discriminator import RNNDiscriminator, TrunkDiscriminator
from seqgen.models.state import branch, select

B = 5
KINDS = [{"kind": kind, "latent_dim": z} for kind in GENERATOR_KINDS for z in (0, Z)] + [
    {"kind": "rnn", "attention": True},
    {"kind": "rnn", "cell": "gru", "layers": 2, "latent_dim": Z},
    {"kind": "transformer", "tied": True},
    {"kind": "relational-memory", "tied": True, "slots": 3, "heads": 1},
    {"kind": "rnn", "latent_dim": Z, "latent_skip": True},
]
every = pytest.mark.parametrize("options", KINDS, ids=lambda o: "-".join(map(str, o.values())))


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@every
def test_step_by_step_is_at_once(options):
    net, tokens = generator(**options).eval(), sentences(B)
    first = net.initial(B)
    logits, end = net(tokens, first)
    assert logits.shape == (B, LENGTH, V)
    state, steps = first, []
    for piece in tokens.split([1, 1, 3, 2], dim=1):
        with torch.no_grad():
            one, state = net(piece, state)
        steps.append(one)
    close(torch.cat(steps, dim=1), logits.detach())
    for part, other in zip(state, end, strict=True):
        assert len(part) == B
        close(part, other.detach())


@every
def test_a_later_token_changes_nothing_earlier(options):
    net, tokens = generator(**options).eval(), sentences(B)
    state, changed = net.initial(B), tokens.clone()
    changed[:, 4] = 4 + (changed[:, 4] + 1) % (V - 4)
    before, after = net.hidden(tokens, state)[0], net.hidden(changed, state)[0]
    close(after[:, :4], before[:, :4])
    assert not torch.allclose(after[:, 4], before[:, 4], atol=1e-3)
    assert not torch.allclose(after[:, 5], before[:, 5], atol=1e-4)  # and it is remembered


@every
def test_states_branch_by_rows(options):
    net, tokens = generator(**options).eval(), sentences(B)
    _, state = net.hidden(tokens[:, :3], net.initial(B))
    both = branch(select(state, torch.tensor([2, 0, 1])), slice(2, 3), 2)
    after, _ = net.hidden(tokens[:, 3:5], both)
    for place, row in enumerate((2, 0, 1, 1, 1)):
        alone, _ = net.hidden(tokens[place : place + 1, 3:5], select(state, slice(row, row + 1)))
        close(after[place : place + 1], alone)
    mask = torch.tensor([False, True, False, True, True])
    for part, kept in zip(state, select(state, mask), strict=True):
        assert torch.equal(kept, part[[1, 3, 4]])


@every
def test_soft_one_hots_are_read_as_ids(options):
    net, tokens = generator(**options).eval(), sentences(B)
    state = net.initial(B)
    soft = nn.functional.one_hot(tokens, V).float()
    close(net(soft, state)[0], net(tokens, state)[0])


@every
def test_rows_are_read_by_themselves(options):
    net, tokens = generator(**options).eval(), sentences(B)
    state = net.initial(B)
    hidden, _ = net.hidden(tokens, state)
    alone, _ = net.hidden(tokens[3:4], select(state, slice(3, 4)))
    close(alone, hidden[3:4])


@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_the_latent_vector_matters_at_every_position_and_gets_a_gradient(kind):
    net, tokens = generator(kind, latent_dim=Z).eval(), sentences(B)
    latents = torch.randn(B, Z, generator=torch.Generator().manual_seed(1)).requires_grad_()
    hidden, _ = net.hidden(tokens, net.initial(B, latents))
    other, _ = net.hidden(tokens, net.initial(B, latents + 1))
    assert ((hidden - other).abs().amax(dim=(0, 2)) > 1e-3).all()
    (gradient,) = torch.autograd.grad(hidden.square().sum(), latents)
    assert (gradient != 0).all()
    torch.manual_seed(3)
    drawn = net.initial(B)[-1]
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.randn(B, Z))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_the_skip_adds_a_map_of_the_latent_vector_to_what_the_head_reads(kind, tied):
    net = generator(kind, latent_dim=Z, tied=tied, latent_skip=True).eval()
    tokens, latents = sentences(B), torch.randn(B, Z)
    hidden, _ = net.hidden(tokens, net.initial(B, latents))
    skip, net.latent_skip = net.latent_skip, None
    without, _ = net.features(tokens, net.initial(B, latents))
    # (B, 1, F): the same at every position of a sentence
    wanted = without + (latents @ skip.weight.t() + skip.bias)[:, None]
    close(hidden, wanted if net.projection is None else net.projection(wanted))
    net.latent_skip = skip
    hidden.square().sum().backward()
    assert all((p.grad != 0).any() for p in skip.parameters())
    weights = [id(weight) for weight, _ in net.latent_layers()]
    assert len(weights) == 1 + len(net.own_latent_layers())
    assert id(skip.weight) in weights


def test_a_skip_without_a_latent_vector_is_refused():
    with pytest.raises(UserError, match=r"latent_skip=true adds a latent vector .* train sentence-vae"):
        generator(latent_skip=True)
    assert generator(latent_skip=False).latent_skip is None
    assert generator(latent_dim=Z).latent_skip is None


@every
def test_the_bytes_of_a_state_are_what_it_grows_to(options):
    net = generator(**options).eval()
    for length in (1, 2, LENGTH):
        _, state = net.hidden(sentences(1, LENGTH)[:, :length], net.initial(1))
        assert state_bytes(net, length) == sum(part.numel() * part.element_size() for part in state)


def test_the_bytes_of_a_discriminators_state():
    plain = RNNDiscriminator(V, 3, 5, cell="lstm", layers=2)
    assert state_bytes(plain, LENGTH) == state_bytes(plain, 1) == 2 * 2 * 5 * 4
    trunk = TrunkDiscriminator(generator("transformer"))
    # keys and values of two layers of 12 float32 at each position
    assert state_bytes(trunk, LENGTH) == LENGTH * 2 * 2 * 12 * 4


def test_a_generator_that_does_not_say_where_the_latent_enters():
    class Silent(Generator):
        pass

    with pytest.raises(TypeError, match="Silent does not say which of its layers read the latent vector"):
        Silent(V, 3, latent_dim=Z).latent_layers()


def test_a_kind_brings_its_own_settings():
    given = {"generator.kind": "transformer", "heads": "3", "generator.hidden": "12"}
    changed = settings.override(MLEConfig(), given).generator
    assert (changed.kind, changed.heads, changed.hidden, changed.expansion) == ("transformer", 3, 12, 4)
    assert settings.override(MLEConfig(), {"generator.kind": "relational-memory"}).generator.embedding == 32
    # the kind that it already is keeps what was set
    kept = settings.override(settings.override(MLEConfig(), {"hidden": 31}), {"generator.kind": "rnn"})
    assert kept.generator.hidden == 31
    for kind in GENERATOR_KINDS:
        config = settings.override(MLEConfig(), {"generator.kind": kind})
        assert settings.from_dict(MLEConfig, settings.to_dict(config)) == config


def test_settings_of_another_kind_and_unknown_kinds():
    with pytest.raises(UserError, match=r"no setting 'generator\.cell'"):
        settings.override(MLEConfig(), {"generator.kind": "transformer", "generator.cell": "gru"})
    with pytest.raises(UserError, match="no kind of generator 'transformr'; did you mean 'transformer'"):
        settings.override(MLEConfig(), {"generator.kind": "transformr"})
    with pytest.raises(UserError, match=r"hidden=10 does not fit generator.heads=4.*such as 8"):
        settings.override(MLEConfig(), {"generator.kind": "transformer", "generator.hidden": 10})
    with pytest.raises(UserError, match=r"setting generator\.slots=0 is out of range"):
        settings.override(MLEConfig(), {"generator.kind": "relational-memory", "slots": 0})
    with pytest.raises(UserError, match="dropout is not set and there is no corpus"):
        GeneratorConfig.of_kind("transformer")().build(V)


@pytest.mark.parametrize("name", ["math:pi", "os:getcwd", "seqgen.core.errors:UserError"])
def test_what_is_no_class_of_settings_is_no_kind(name):
    with pytest.raises(UserError, match=f"'{name}' is no kind of generator"):
        GeneratorConfig.of_kind(name)
    with pytest.raises(UserError, match=f"'{name}' is no algorithm"):
        algorithms.get(name)
