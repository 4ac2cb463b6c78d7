"""Draws from a large vocabulary on CUDA without writing the logits: two kernels in Triton.

The first multiplies states with the vocabulary a tile at a time and keeps two numbers of each tile: its
largest logit, and the sum of exponentials relative to that. The second finds, for each uniform number, the
tile in which it falls, computes that tile's logits once more, and the token within it. So V numbers a row are
never in memory, only V / 128.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 128
"""Tokens of a tile."""
LOG2E, LN2 = math.log2(math.e), math.log(2)
BELOW_ONE = tl.constexpr(1 - 2.0**-23)
PRECISION = "tf32x3"
"""Of products of float32: three products of TF32, as exact as float32's own and twice to thrice as fast."""


def draw(
    states: Tensor, weight: Tensor, bias: Tensor, uniform: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """Draw tokens from softmax(scale · (states · weightᵀ + bias)) at uniform numbers.

    states (R, H), weight (V, H) and bias (V,) of one type, uniform (R, N) in [0, 1), all on one CUDA device
    → tokens and their log-probabilities, float32, (R, N) each. A bias of -inf rules a token out.
    """
    (rows, hidden), (vocab_size, _), count = states.shape, weight.shape, uniform.shape[1]
    tiles = triton.cdiv(vocab_size, TILE)
    maxima, sums = torch.empty(2, rows, tiles, device=states.device).unbind()
    tokens = torch.empty(rows, count, dtype=torch.long, device=states.device)
    log_probs = torch.empty(rows, count, device=states.device)
    if not tokens.numel():
        return tokens, log_probs
    states, factor = states.contiguous(), scale * LOG2E
    block_rows = 16 if rows <= 64 else 64
    shape = {"V": vocab_size, "H": hidden, "TILES": tiles, "TILE": TILE}
    _tile_sums[(triton.cdiv(rows, block_rows), tiles)](
        states,
        weight,
        bias,
        maxima,
        sums,
        rows,
        factor,
        **shape,
        ROWS=block_rows,
        HIDDEN=32,
        PRECISION=PRECISION,
    )
    _find[(rows * count,)](
        states,
        weight,
        bias,
        maxima,
        sums,
        uniform.contiguous(),
        tokens,
        log_probs,
        count,
        factor,
        **shape,
        TILES_UP=triton.next_power_of_2(tiles),
        HIDDEN=32,
    )
    return tokens, log_probs


@triton.jit
def _tile_sums(
    states,
    weight,
    bias,
    maxima,
    sums,
    rows,
    factor,
    V: tl.constexpr,
    H: tl.constexpr,
    TILES: tl.constexpr,
    TILE: tl.constexpr,
    ROWS: tl.constexpr,
    HIDDEN: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write the largest base-2 logit of a tile and Σ 2^(logit - largest), for a block of rows."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    tile = tl.program_id(1)
    token = tile * TILE + tl.arange(0, TILE)
    logits = tl.zeros((ROWS, TILE), dtype=tl.float32)
    for start in range(0, H, HIDDEN):
        h = start + tl.arange(0, HIDDEN)
        left = tl.load(
            states + row[:, None].to(tl.int64) * H + h, mask=(row < rows)[:, None] & (h < H), other=0.0
        )
        right = tl.load(
            weight + token[None, :].to(tl.int64) * H + h[:, None],
            mask=(token < V)[None, :] & (h < H)[:, None],
            other=0.0,
        )
        logits = tl.dot(left.to(tl.float32), right.to(tl.float32), logits, input_precision=PRECISION)
    offset = tl.load(bias + token, mask=token < V, other=-float("inf")).to(tl.float32)
    logits = (logits + offset[None, :]) * factor
    largest = tl.max(logits, axis=1)
    finite = tl.where(largest == -float("inf"), 0.0, largest)  # a tile may be ruled out as a whole
    total = tl.sum(tl.exp2(logits - finite[:, None]), axis=1)
    place = row.to(tl.int64) * TILES + tile
    tl.store(maxima + place, largest, mask=row < rows)
    tl.store(sums + place, total, mask=row < rows)


@triton.jit
def _pick(weights, index, target):
    """Invert the running sum of weights at a target; never an index of weight 0 by rounding."""
    cdf = tl.cumsum(weights, axis=0)
    found = tl.sum((cdf <= target).to(tl.int32), axis=0)
    is_found = index == found
    found = tl.where(tl.sum(tl.where(is_found, weights, 0.0), axis=0) > 0, found, tl.argmax(weights, axis=0))
    is_found = index == found
    own = tl.sum(tl.where(is_found, weights, 0.0), axis=0)
    return found, own, tl.sum(tl.where(is_found, cdf, 0.0), axis=0) - own


@triton.jit
def _find(
    states,
    weight,
    bias,
    maxima,
    sums,
    uniform,
    tokens,
    log_probs,
    count,
    factor,
    V: tl.constexpr,
    H: tl.constexpr,
    TILES: tl.constexpr,
    TILE: tl.constexpr,
    TILES_UP: tl.constexpr,
    HIDDEN: tl.constexpr,
):
    """Find the tile of a uniform number, then the token within it."""
    place = tl.program_id(0).to(tl.int64)
    row = place // count
    tile_index = tl.arange(0, TILES_UP)
    known = tile_index < TILES
    tops = tl.load(maxima + row * TILES + tile_index, mask=known, other=-float("inf"))
    largest = tl.max(tops, axis=0)
    tile_weights = tl.load(sums + row * TILES + tile_index, mask=known, other=0.0) * tl.exp2(tops - largest)
    total = tl.sum(tile_weights, axis=0)
    target = tl.load(uniform + place) * total
    tile, _, before = _pick(tile_weights, tile_index, target)
    inner = tl.arange(0, TILE)
    token = tile * TILE + inner
    logits = tl.zeros((TILE,), dtype=tl.float32)
    for start in range(0, H, HIDDEN):
        h = start + tl.arange(0, HIDDEN)
        left = tl.load(states + row * H + h, mask=h < H, other=0.0).to(tl.float32)
        right = tl.load(
            weight + token[:, None].to(tl.int64) * H + h,
            mask=(token < V)[:, None] & (h < H),
            other=0.0,
        ).to(tl.float32)
        logits += tl.sum(left[None, :] * right, axis=1)
    offset = tl.load(bias + token, mask=token < V, other=-float("inf")).to(tl.float32)
    weights = tl.exp2((logits + offset) * factor - largest)
    inside = tl.sum(weights, axis=0)
    aim = tl.minimum(tl.maximum(target - before, 0.0), inside * BELOW_ONE)
    position, own, _ = _pick(weights, inner, aim)
    tl.store(tokens + place, (tile * TILE + position).to(tl.int64))
    tl.store(log_probs + place, tl.log2(own / total) * 0.6931471805599453)
