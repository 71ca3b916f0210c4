"""Positional encodings against the formula in plain Python, rotations, and the limits of what was learned."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attn_utils.positional import PositionalEncoding, sinusoidal_encoding


def formula(p, column, embed_dim):
    """One entry, in double precision."""
    angle = p / 10_000 ** ((column - column % 2) / embed_dim)
    return math.cos(angle) if column % 2 else math.sin(angle)


def rotation(d, embed_dim):
    """R_d, double: one 2 x 2 block for each hand of the clock."""
    R = torch.zeros(embed_dim, embed_dim, dtype=torch.float64)
    for i in range(0, embed_dim, 2):
        angle = d / 10_000 ** (i / embed_dim)
        R[i, i] = R[i + 1, i + 1] = math.cos(angle)
        R[i, i + 1], R[i + 1, i] = math.sin(angle), -math.sin(angle)
    return R


@pytest.fixture
def double():
    """float64 as the default dtype, for as long as a test runs."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 20), st.integers(1, 33), st.integers(0, 500))
def test_equals_the_formula(length, embed_dim, start):
    got = sinusoidal_encoding(length, embed_dim, start)
    rows = range(start, start + length)
    wanted = [[formula(p, c, embed_dim) for c in range(embed_dim)] for p in rows]
    assert got.shape == (length, embed_dim)
    assert got.dtype == torch.float32
    expected = torch.tensor(wanted, dtype=torch.float64).reshape(length, embed_dim)
    torch.testing.assert_close(got.double(), expected, atol=1e-7, rtol=0)


def test_a_case_by_hand():
    """E = 4: the speeds are 1 and 1 / 100."""
    one = [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)]
    torch.testing.assert_close(sinusoidal_encoding(2, 4), torch.tensor([[0.0, 1, 0, 1], one]))


@pytest.mark.parametrize("p", [9_999, 100_000, 3_000_000])
def test_far_positions_are_as_exact_as_near_ones(p):
    """Angles in single precision are off by 0.1 and more at p = 3,000,000."""
    wanted = torch.tensor([formula(p, c, 64) for c in range(64)], dtype=torch.float64)
    got = sinusoidal_encoding(1, 64, start=p)[0].double()
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 16))
def test_a_shift_is_a_rotation(p, d, hands):
    E = 2 * hands
    here, there = sinusoidal_encoding(1, E, p)[0], sinusoidal_encoding(1, E, p + d)[0]
    R = rotation(d, E)
    torch.testing.assert_close(R @ here.double(), there.double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(R @ R.T, torch.eye(E, dtype=torch.float64))


@pytest.mark.parametrize("embed_dim", [2, 16, 64])
def test_the_dot_product_depends_on_the_distance_alone(embed_dim):
    pe = sinusoidal_encoding(60, embed_dim).double()
    gram = pe @ pe.T
    for d in range(60):
        along = gram.diagonal(d)
        torch.testing.assert_close(along, along[:1].expand(60 - d), atol=1e-5, rtol=0)
    torch.testing.assert_close(gram[0, 0].item(), embed_dim / 2)


def test_an_odd_dimension_ends_in_a_lone_sine():
    """The columns of 7 are not those of 8: speeds follow from E."""
    pe = sinusoidal_encoding(5, 7)
    wanted = [math.sin(p / 10_000 ** (6 / 7)) for p in range(5)]
    torch.testing.assert_close(pe[:, 6], torch.tensor(wanted))


@pytest.mark.parametrize("embed_dim", [1, 6, 9])
def test_start_is_a_slice(embed_dim):
    whole = sinusoidal_encoding(40, embed_dim)
    assert torch.equal(sinusoidal_encoding(7, embed_dim, start=12), whole[12:19])


def test_default_dtype(double):
    got = sinusoidal_encoding(3, 6, start=1000)
    wanted = [[formula(p, c, 6) for c in range(6)] for p in range(1000, 1003)]
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, torch.tensor(wanted), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("length", "embed_dim", "start"), [(-1, 4, 0), (3, 0, 0), (3, 4, -2)])
def test_errors_quote_the_values(length, embed_dim, start):
    with pytest.raises(
        ValueError, match=f"got length={length}, embed_dim={embed_dim}, start={start}"
    ):
        sinusoidal_encoding(length, embed_dim, start)


@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6), (2, 3, 5, 6), (0, 5, 6), (2, 0, 6)])
@pytest.mark.parametrize("learned", [None, 9])
def test_adds_to_the_tokens_the_row_of_their_position(shape, learned):
    torch.manual_seed(0)
    module, x = PositionalEncoding(6, learned_max_len=learned), torch.randn(shape)
    kept = x.clone()
    table = sinusoidal_encoding(9, 6) if learned is None else module.learned.weight
    for start in (0, 4):
        wanted = torch.zeros(shape)
        for p in range(shape[-2]):  # the dimension before the last, whatever stands in front
            wanted[..., p, :] = x[..., p, :] + table[start + p]
        torch.testing.assert_close(module(x, start), wanted)
    assert torch.equal(x, kept), "the input was changed"


def test_batch_comes_first():
    """Two sentences get the same encodings: the position is not the place in the batch."""
    out = PositionalEncoding(4)(torch.zeros(2, 3, 4))
    assert torch.equal(out[0], out[1])
    assert not torch.equal(out[:, 0], out[:, 1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtype_is_kept(dtype):
    out = PositionalEncoding(6)(torch.zeros(1, 300, 6, dtype=dtype))
    assert out.dtype == dtype
    rounded = sinusoidal_encoding(300, 6).to(dtype)  # rounded once, at the end
    assert torch.equal(out[0], rounded)


def test_device_is_kept():
    """The meta device stands for any that is not the CPU."""
    assert PositionalEncoding(6)(torch.zeros(1, 3, 6, device="meta")).device.type == "meta"
    module = PositionalEncoding(6, learned_max_len=4).to("meta")
    assert module(torch.zeros(1, 3, 6, device="meta")).device.type == "meta"


@pytest.mark.parametrize("learned", [None, 5])
def test_what_is_stored(learned):
    """Sinusoids are computed, so a checkpoint holds none; a learned table has one row a position."""
    stored = {
        n: tuple(x.shape) for n, x in PositionalEncoding(6, 0.1, learned).state_dict().items()
    }
    assert stored == ({} if learned is None else {"learned.weight": (5, 6)})


def test_learned_positions_start_small():
    torch.manual_seed(0)
    weight = PositionalEncoding(64, learned_max_len=200).learned.weight
    assert abs(weight.std().item() - 0.1) < 0.005
    assert abs(weight.mean().item()) < 0.005


def test_learned_positions_end():
    module = PositionalEncoding(6, learned_max_len=5)
    assert module(torch.zeros(2, 5, 6)).shape == (2, 5, 6)
    assert module(torch.zeros(2, 2, 6), start=3).shape == (2, 2, 6)
    with pytest.raises(ValueError, match=r"6 positions from 0 on, but only 5"):
        module(torch.zeros(2, 6, 6))
    with pytest.raises(ValueError, match=r"6 positions from 4 on, but only 5"):
        module(torch.zeros(2, 6, 6), start=4)


@pytest.mark.parametrize("learned", [None, 5])
def test_positions_before_the_first_are_an_error(learned):
    """A slice from -1 would quietly take the table's end."""
    with pytest.raises(ValueError, match="-1"):
        PositionalEncoding(6, learned_max_len=learned)(torch.zeros(2, 1, 6), start=-1)


@pytest.mark.parametrize("learned", [None, 5])
@pytest.mark.parametrize("features", [4, 1])
def test_other_features_are_an_error(learned, features):
    """One feature would broadcast against a table of six."""
    with pytest.raises(ValueError, match=rf"6 features, got \(2, 3, {features}\)"):
        PositionalEncoding(6, learned_max_len=learned)(torch.zeros(2, 3, features))


def test_gradients():
    """Each position that occurs learns, the others do not; the tokens' gradient passes unchanged."""
    module, x = PositionalEncoding(4, learned_max_len=6), torch.randn(3, 2, 4, requires_grad=True)
    module(x, start=1).sum().backward()
    rows = torch.tensor([0.0, 3, 3, 0, 0, 0])  # a batch of three
    assert torch.equal(module.learned.weight.grad, rows[:, None].expand(6, 4))
    assert torch.equal(x.grad, torch.ones(3, 2, 4))


def test_dropout_in_training_only():
    torch.manual_seed(0)
    module, x = PositionalEncoding(8, dropout=0.5), torch.full((1, 400, 8), 3.0)
    whole = x + sinusoidal_encoding(400, 8)
    torch.testing.assert_close(module.eval()(x), whole)
    dropped = module.train()(x)
    zero = dropped == 0
    assert 0.4 < zero.float().mean() < 0.6
    torch.testing.assert_close(dropped[~zero], 2 * whole[~zero])
