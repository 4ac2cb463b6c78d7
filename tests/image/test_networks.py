"""Encoders and decoders: shapes, labels, and the layers of the settings."""

import math

import pytest
import torch
from torch import nn

from seqgen.core.errors import UserError
from seqgen.image.networks.networks import (
    NetConfig,
    build_decoder,
    build_encoder,
    default_lr,
    halvings,
    one_hot,
)

B, Z = 3, 5
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 5, 7), (3, 45, 17)]
KINDS = {
    "dense": NetConfig(hidden=11),
    "conv": NetConfig(kind="conv", hidden=11, channels=2, layers=3),
    "conv and dense layers": NetConfig(kind="conv", widths=(11, 7), channels=2, init="orthogonal"),
    "parallel": NetConfig(kind="parallel", hidden=11, widths=(13, 7), channels=2),
    "normalised": NetConfig(kind="conv", hidden=11, channels=2, normalise="layer"),
}


@pytest.mark.parametrize("net", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_encoder_and_a_decoder_fit_any_size(shape, net):
    images = torch.rand(B, *shape)
    latents = build_encoder(net, shape, Z)(images)
    assert latents.shape == (B, Z)
    assert build_decoder(net, Z, shape)(latents).shape == (B, *shape)


def test_convolutions_halve_while_four_pixels_are_left():
    net = NetConfig(kind="conv", channels=2, layers=5)
    maps = [m for m in build_encoder(net, (1, 45, 45), Z).convolutions if isinstance(m, nn.Conv2d)]
    # 45 → 22 → 11 → 5: three convolutions of 2, 4, 8 maps, and 8 · 5 · 5 numbers
    assert [m.out_channels for m in maps] == [2, 4, 8]
    assert build_encoder(net, (1, 45, 45), Z).body[0][0].in_features == 8 * 5 * 5


def test_a_dense_net_has_the_layers_of_its_settings():
    # the seed's 784-256-2: two matrices of each, with biases
    net = NetConfig(hidden=256, layers=1)
    sizes = [p.numel() for p in build_encoder(net, (1, 28, 28), 2).parameters()]
    assert sizes == [784 * 256, 256, 256 * 2, 2]
    sizes = [p.numel() for p in build_decoder(net, 2, (1, 28, 28)).parameters()]
    assert sizes == [2 * 256, 256, 256 * 784, 784]


@pytest.mark.parametrize("layers", [1, 3])
def test_encoder_and_decoder_have_the_layers_of_their_settings(layers):
    net = NetConfig(hidden=11, layers=layers)
    for module in (build_encoder(net, (1, 5, 7), Z), build_decoder(net, Z, (1, 5, 7))):
        assert sum(isinstance(m, nn.Linear) for m in module.modules()) == layers + 1
        assert sum(isinstance(m, nn.ReLU) for m in module.modules()) == layers


def linear_sizes(module):
    return [(m.in_features, m.out_features) for m in module.modules() if isinstance(m, nn.Linear)]


def test_one_width_a_layer_and_its_mirror_image():
    net = NetConfig(kind="dense", widths=(13, 7)).sized((1, 5, 7))
    assert net.layers == 2
    assert linear_sizes(build_encoder(net, (1, 5, 7), Z)) == [(35, 13), (13, 7), (7, Z)]
    assert linear_sizes(build_decoder(net.mirrored(), Z, (1, 5, 7))) == [(Z, 7), (7, 13), (13, 35)]
    assert linear_sizes(build_decoder(net, Z, (1, 5, 7))) == [(Z, 13), (13, 7), (7, 35)]
    # as wide together as two layers of 10
    assert default_lr(NetConfig(widths=(512, 512))) == default_lr(NetConfig(hidden=512, layers=2))
    assert default_lr(NetConfig(widths=(1024,))) == pytest.approx(2.5e-3)
    with pytest.raises(UserError, match="widths=13,7 are 2 dense layers, and layers=3; leave layers out"):
        NetConfig(kind="dense", widths=(13, 7), layers=3)
    with pytest.raises(UserError, match=r"widths=13,0 is out of range: it must be at least 1"):
        NetConfig(widths=(13, 0))


def test_dense_layers_after_convolutions():
    # 9 × 11 → 4 × 5 once, 2 maps: 40 numbers
    net = NetConfig(kind="conv", widths=(13, 7), channels=2, layers=1)
    assert linear_sizes(build_encoder(net, (1, 9, 11), Z)) == [(40, 13), (13, 7), (7, Z)]
    assert linear_sizes(build_decoder(net.mirrored(), Z, (1, 9, 11))) == [(Z, 7), (7, 13), (13, 40)]


def test_a_parallel_net_is_a_conv_net_and_a_dense_net_side_by_side():
    shape = (1, 9, 11)
    net = NetConfig(kind="parallel", hidden=11, widths=(13, 7), channels=2, layers=1)
    conv = NetConfig(kind="conv", hidden=11, channels=2, layers=1)
    dense = NetConfig(kind="dense", widths=(13, 7))
    images, latents, labels = torch.rand(B, *shape), torch.randn(B, Z), torch.tensor([0, 2, -1])
    both, one, other = (build_encoder(each, shape, Z, classes=3) for each in (net, conv, dense))
    of_conv = {k: v for k, v in both.state_dict().items() if k.startswith(("conv", "body"))}
    one.load_state_dict(of_conv, strict=False)
    other.body.load_state_dict(both.beside.state_dict())
    joined = torch.cat([one.features(images, labels), other.features(images, labels)], dim=1)
    torch.testing.assert_close(both.features(images, labels), joined)
    torch.testing.assert_close(both(images, labels), both.head(joined))
    both, one, other = (build_decoder(each, Z, shape, classes=3) for each in (net, conv, dense))
    one.load_state_dict({k: v for k, v in both.state_dict().items() if not k.startswith("beside")})
    other.body.load_state_dict(both.beside[:-1].state_dict())
    other.head.load_state_dict(both.beside[-1].state_dict())
    torch.testing.assert_close(both(latents, labels), one(latents, labels) + other(latents, labels))


def test_orthogonal_weights_keep_the_variance_of_a_signal():
    net = NetConfig(hidden=11, layers=2, init="orthogonal")
    first, second = (block[0] for block in build_encoder(net, (1, 5, 7), Z).body)
    # rows of the first, 11 of 35, at right angles and of length √2; the second is a rotation
    for layer in (first, second):
        torch.testing.assert_close(layer.weight @ layer.weight.T, 2 * torch.eye(11), rtol=0.0, atol=1e-5)
        assert not layer.bias.any()
    decoder = build_decoder(net, Z, (1, 5, 7))
    # 35 numbers of 11, no ReLU after them: columns at right angles, longer by √(35 / 11)
    head = decoder.head.weight
    torch.testing.assert_close(head.T @ head, 35 / 11 * torch.eye(11), rtol=0.0, atol=1e-4)
    # the first biases spread the kinks of the units over the latents, up to 2 standard deviations
    assert 1.0 < decoder.body[0][0].bias.abs().max() <= 2.0
    assert not decoder.body[1][0].bias.any()


def test_a_wide_and_deep_net_learns_slowly():
    assert default_lr(NetConfig(hidden=512, layers=2)) == pytest.approx(2.5e-3)
    assert default_lr(NetConfig(hidden=256, layers=1)) == pytest.approx(5e-3)
    assert default_lr(NetConfig(hidden=3, layers=0)) == pytest.approx(5e-3)


def test_no_layers_make_a_linear_map():
    shape = (1, 2, 3)
    net = build_encoder(NetConfig(layers=0), shape, Z)
    images = torch.rand(B, *shape)
    expected = images.flatten(1) @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(net(images), expected)


def test_one_hot_of_no_label_is_zeros():
    rows = one_hot(torch.tensor([2, -1, 0]), 3)
    assert rows.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("net", KINDS.values(), ids=KINDS)
def test_the_label_changes_the_outputs(net):
    shape, classes = (1, 8, 8), 7
    images, latents = torch.rand(B, *shape), torch.randn(B, Z)
    one, other = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 6])
    encoder, decoder = (
        build_encoder(net, shape, Z, classes=classes),
        build_decoder(net, Z, shape, classes=classes),
    )
    for module, values in ((encoder, images), (decoder, latents)):
        first, second = module(values, one), module(values, other)
        torch.testing.assert_close(first[:2], second[:2])
        assert not torch.allclose(first[2], second[2], atol=1e-5)


@pytest.mark.parametrize("net", KINDS.values(), ids=KINDS)
def test_the_extra_vector_changes_the_outputs(net):
    shape, width = (1, 8, 8), 3
    module = build_encoder(net, shape, Z, extra=width)
    images, noise = torch.rand(B, *shape), torch.randn(B, width, requires_grad=True)
    module(images, extra=noise).sum().backward()
    assert noise.grad.abs().sum(dim=1).min() > 0


def test_labels_where_there_is_no_room_are_refused():
    shape = (1, 8, 8)
    with pytest.raises(ValueError, match="takes no labels"):
        build_encoder(NetConfig(), shape, Z)(torch.rand(B, *shape), torch.zeros(B, dtype=torch.long))
    with pytest.raises(ValueError, match="needs labels"):
        build_decoder(NetConfig(), Z, shape, classes=7)(torch.randn(B, Z))
    with pytest.raises(ValueError, match="needs an extra vector"):
        build_encoder(NetConfig(), shape, Z, extra=3)(torch.rand(B, *shape))


def test_the_head_reads_the_features():
    shape = (1, 8, 8)
    module = build_encoder(NetConfig(kind="conv", hidden=13, channels=2), shape, Z)
    images = torch.rand(B, *shape)
    assert module.features(images).shape == (B, 13)
    torch.testing.assert_close(module.head(module.features(images)), module(images))


def test_dropout_is_for_learning():
    shape = (1, 8, 8)
    module = build_encoder(NetConfig(dropout=0.5), shape, Z)
    images = torch.rand(B, *shape)
    assert not torch.equal(module(images), module(images))
    module.eval()
    assert torch.equal(module(images), module(images))


@pytest.mark.parametrize(("normalise", "kinds"), [("batch", nn.BatchNorm2d), ("layer", nn.GroupNorm)])
def test_every_layer_but_the_last_is_normalised(normalise, kinds):
    net = NetConfig(kind="conv", normalise=normalise, channels=2, layers=2)
    encoder, decoder = build_encoder(net, (1, 28, 28), Z), build_decoder(net, Z, (1, 28, 28))
    assert sum(isinstance(m, kinds) for m in encoder.modules()) == 2
    assert sum(isinstance(m, kinds) for m in decoder.modules()) == 2
    dense = nn.BatchNorm1d if normalise == "batch" else nn.LayerNorm
    assert sum(isinstance(m, dense) for m in encoder.modules()) == 1
    assert not any(isinstance(m, dense) for m in decoder.modules())


def test_normal_weights_are_small():
    module = build_decoder(NetConfig(kind="conv", init="normal", channels=31), Z, (3, 16, 16))
    weights = torch.cat(
        [m.weight.flatten() for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    )
    assert weights.std().item() == pytest.approx(0.02, rel=0.05)
    assert weights.mean().item() == pytest.approx(0, abs=1e-3)


def test_an_encoder_can_be_differentiated_twice():
    module = build_encoder(NetConfig(kind="conv", channels=2, activation="silu"), (1, 8, 8), 1)
    images = torch.rand(B, 1, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(module(images).sum(), images, create_graph=True)
    gradient.square().sum().backward()
    assert all(math.isfinite(float(p.grad.abs().sum())) for p in module.parameters() if p.grad is not None)
    assert module.convolutions[0].weight.grad.abs().sum() > 0


def test_impossible_sizes_are_refused():
    with pytest.raises(UserError, match="hidden=0 is out of range"):
        NetConfig(hidden=0)


@pytest.mark.parametrize(("kind", "init"), [("dense", "uniform"), ("conv", "normal")])
def test_starting_weights_are_chosen_by_the_kind_of_net(kind, init):
    nets = []
    for given in (None, init):
        torch.manual_seed(3)
        nets.append(build_decoder(NetConfig(kind=kind, hidden=11, channels=3, init=given), 5, (1, 16, 16)))
    left_open, named = (list(net.parameters()) for net in nets)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(left_open, named, strict=True))


@pytest.mark.parametrize(
    ("shape", "kind", "layers", "channels"),
    [
        ((1, 8, 8), "dense", 2, 32),
        ((1, 28, 28), "dense", 2, 32),
        ((3, 31, 32), "dense", 2, 32),  # 992 pixels
        ((1, 1, 2048), "dense", 2, 32),  # nothing to halve, as of a latent that is a row
        ((3, 32, 32), "conv", 3, 32),  # 32 → 16 → 8 → 4
        ((1, 64, 96), "conv", 4, 32),  # the shorter side: 64 → 32 → 16 → 8 → 4; 32 · 2³ = 256 channels
        ((3, 128, 128), "conv", 5, 16),  # 16 · 2⁴ = 256
        ((1, 256, 256), "conv", 6, 8),  # 8 · 2⁵ = 256
    ],
)
def test_what_is_left_open_is_chosen_by_the_size(shape, kind, layers, channels):
    net = NetConfig(hidden=11).sized(shape)
    assert (net.kind, net.layers, net.channels, net.hidden) == (kind, layers, channels, 11)
    assert net.sized((1, 3, 3)) == net  # chosen once
    images = torch.rand(B, *shape)
    assert (
        build_decoder(NetConfig(hidden=11), Z, shape)(build_encoder(net, shape, Z)(images)).shape
        == images.shape
    )


def test_what_is_set_is_kept():
    net = NetConfig(kind="dense").sized((3, 256, 256))
    assert (net.kind, net.layers) == ("dense", 2)
    net = NetConfig(kind="conv").sized((1, 8, 8))
    assert (net.kind, net.layers, net.channels) == ("conv", 1, 32)
    net = NetConfig(layers=2).sized((3, 256, 256))
    assert (net.kind, net.layers, net.channels) == ("conv", 2, 32)  # 64 channels at the end
    assert NetConfig(channels=5).sized((3, 256, 256)).channels == 5
    assert NetConfig(layers=0).sized((1, 64, 64)).channels == 32


def test_halvings_leave_four_pixels():
    for side in range(1, 300):
        halved, count = side, 0
        while halved >= 8:
            halved, count = halved // 2, count + 1
        assert halvings(side, 300) == halvings(300, side) == count
