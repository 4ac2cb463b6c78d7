"""Networks compiled by torch: the same training, the same names, and the plain form where it cannot be."""

import copy

import pytest
import torch
from helpers import batch, build, weights
from image_helpers import batch as images
from image_helpers import build as build_image
from torch import nn

from seqgen.core import compiled
from seqgen.core.errors import Notice, UserError
from seqgen.functional import gan_losses
from seqgen.image.models.gan import GAN
from seqgen.image.models.vae import VAE

TRANSFORMER = {
    "generator.kind": "transformer",
    "generator.embedding": 5,
    "generator.hidden": 12,
    "generator.heads": 3,
    "generator.dropout": 0.3,
}
MEMORY = {"generator.kind": "relational-memory", "generator.slots": 2, "generator.head_size": 5}


@pytest.fixture(autouse=True)
def fresh():
    """What was compiled before counts towards the forms that torch keeps of one method."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


class Called:
    """A backend that compiles nothing, and counts what it was given."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


def text(name, values):
    return build(name, values), [batch(seed=i, length=7 + 2 * i) for i in range(3)]


def image(cls, values):
    return build_image(cls, values), [images(seed=i) for i in range(4)]


TRAININGS = {
    "transformer": lambda: text("mle", TRANSFORMER),
    "relational memory": lambda: text("mle", MEMORY),
    "relgan": lambda: text("relgan", {}),
    "vae": lambda: image(VAE, {"net.kind": "conv", "net.normalise": "batch", "latent_dim": 3}),
    "gan with penalties": lambda: image(GAN, {"gan.gradient_penalty": 1.0, "gan.r1": 1.0, "latent_dim": 3}),
}


def steps(algorithm, batches):
    torch.manual_seed(5)
    for i, each in enumerate(batches):
        algorithm.learn(each, i / len(batches))
    return weights(algorithm), torch.get_rng_state()


@pytest.mark.parametrize("name", TRAININGS)
def test_a_compiled_training_is_the_plain_one_to_rounding(name):
    backend = "aot_eager" if name in ("vae", "gan with penalties") else "eager"  # which traces alone
    plain, batches = TRAININGS[name]()
    expected, random_state = steps(plain, batches)
    algorithm, _ = TRAININGS[name]()
    compiled.compile_networks(algorithm, backend=backend)
    found, after = steps(algorithm, batches)
    assert found.keys() == expected.keys()
    for key, weight in expected.items():
        torch.testing.assert_close(found[key], weight, rtol=1e-3, atol=1e-5, msg=key)
    assert torch.equal(after, random_state)


def test_methods_that_a_class_names_are_compiled_where_gradients_are_recorded():
    network = build("mle", TRANSFORMER | {"generator.dropout": 0.0}).generator
    backend = Called()
    compiled.compile_networks(network, backend=backend)
    tokens = batch().tokens
    with torch.no_grad():
        network(tokens, network.initial(len(tokens)))
    assert backend.graphs == 0
    with compiled.plainly():
        network(tokens, network.initial(len(tokens)))
    assert backend.graphs == 0
    for length in (7, 5, 3):
        network(tokens[:, :length], network.initial(len(tokens)))
    assert backend.graphs == 2  # of all lengths: the first layer reads a view, the other ones do not
    assert set(network.state_dict()) == set(build("mle", TRANSFORMER).generator.state_dict())


def test_a_model_without_such_methods_says_so():
    assert compiled.notes(build("mle", TRANSFORMER)) == []
    assert "nothing to compile" in compiled.notes(build("mle"))[0]


def test_penalties_differentiate_the_plain_form_twice():
    critic = build_image(GAN, {"latent_dim": 3}).critic
    real = images().images
    expected = gan_losses.zero_centred_penalty(critic, real)
    compiled.compile_networks(critic, backend="aot_eager")
    found = gan_losses.zero_centred_penalty(critic, real)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    found.backward()


def test_a_copy_of_a_compiled_network_is_plain_and_has_weights_of_its_own():
    layer = build("mle", TRANSFORMER).generator.layers[0]
    compiled.compile_networks(layer, backend="eager")
    other = copy.deepcopy(layer)
    assert other.forward.__self__ is other
    assert not isinstance(other.forward, type(layer.forward))


class Fails(nn.Module):
    compiled = ("forward",)

    def forward(self, inputs):
        return inputs * 2


def test_a_network_that_cannot_be_compiled_goes_on_with_one_notice_for_its_class():
    def backend(graph, inputs):
        raise RuntimeError("no such\nkernel")

    layers = nn.Sequential(Fails(), Fails())
    compiled.compile_networks(layers, backend=backend)
    given = torch.ones(3, requires_grad=True)
    with pytest.warns(Notice) as told:
        outputs = [layers(given).tolist() for _ in range(3)]
    assert outputs == [[4.0] * 3] * 3
    assert [str(each.message).partition(": backend")[0] for each in told] == [
        "--compile: Fails stays as it is"
    ]
    assert "no such kernel" in str(told[0].message)


def test_an_error_of_the_network_itself_is_raised():
    layer = build("mle", TRANSFORMER).generator.layers[0]
    compiled.compile_networks(layer, backend="eager")
    with pytest.raises(AttributeError, match=r"no attribute 'shape'"):
        layer("no tensor", None, None, None)


def test_a_backward_pass_that_cannot_be_compiled_is_one_line():
    from torch._inductor.exc import CppCompileError

    goes_on = pytest.raises(UserError, match="the same command without --compile goes on")
    with goes_on, compiled.explained(True):
        raise CppCompileError(["g++"], "no space left")
    with pytest.raises(CppCompileError), compiled.explained(False):
        raise CppCompileError(["g++"], "no space left")


def test_where_there_is_no_compiler_that_is_one_line(monkeypatch):
    monkeypatch.setenv("PATH", "")
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    assert compiled.obstacle(torch.device("cpu")) == (
        "--compile: the compiler g++ is not here; training goes on without compilation"
    )
    monkeypatch.setenv("CXX", "icpx -O3")
    assert "the compiler icpx is not here" in compiled.obstacle(torch.device("cpu"))
    assert "a compiler for mps" in compiled.obstacle(torch.device("mps"))
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    assert "Triton is not here" in compiled.obstacle(torch.device("cuda"))
