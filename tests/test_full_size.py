"""The full sizes that chapters 13 and 14 offer fit together: shapes, types and gradients, without a GPU.

The settings are those of the notebooks' own cells. Image models run on the device "meta", where a tensor has a
shape and a type, no numbers.
"""

from __future__ import annotations

import ast

import pytest
import torch
from support import CHAPTERS, code_cells, parse, read
from torch.utils.data import TensorDataset

from attn_utils import data


class Set(ast.NodeTransformer):
    """Gives names other values where a cell assigns them text."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values, self.found = values, set()

    def visit_Assign(self, node):
        target = node.targets[0]
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        chosen = [self.values.get(getattr(name, "id", "")) for name in names]
        if all(chosen):
            self.found |= {name.id for name in names}
            values = [ast.Constant(value) for value in chosen]
            node.value = values[0] if len(values) == 1 else ast.Tuple(values, ast.Load())
        return ast.fix_missing_locations(node)


def defining(number: int, names: list[str], **values: str) -> dict:
    """Run those cells of a chapter that import or define one of the names, with other values; what they leave."""
    (path,) = (p for p in CHAPTERS if p.name.startswith(f"{number}-"))
    space, change = {}, Set(values)
    for cell in code_cells(read(path))[1:]:
        if not names:
            break
        tree = change.visit(parse(cell.source))
        made = {getattr(node, "name", None) for node in tree.body}
        stored = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        made |= {name.id for name in stored if isinstance(name.ctx, ast.Store)}
        if "imports" in cell.metadata.get("tags", []) or made & set(names):
            names = [name for name in names if name not in made]
            exec(compile(tree, path.name, "exec"), space)
    assert not names, f"{path.name} does not define {names}"
    assert change.found == set(values), f"{path.name} sets {change.found}, not {set(values)}"
    return space


def gradients_fit(model, outputs) -> None:
    """Every parameter gets a gradient of its own shape and type."""
    outputs.sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert (p.grad.shape, p.grad.dtype) == (p.shape, p.dtype), name


@pytest.fixture(scope="module")
def chapter_13():
    """What its cells define, with CIFAR-10's shapes."""
    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        parts = [
            TensorDataset(torch.zeros(n, 3, 32, 32), torch.zeros(n, dtype=torch.long))
            for n in (50_000, 10_000)
        ]
        patch.setattr(data, "cifar10", lambda: tuple(parts))
        return defining(13, ["SCALE", "KINDS"], DATA="cifar10", SCALE="full")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["CNN", "CNN + attention", "ViT"])
def test_vision_at_full_size(chapter_13, kind, dtype):
    with torch.device("meta"):
        model = chapter_13["make"](kind, seed=0).to(dtype)
    batch, E = chapter_13["BATCH"], chapter_13["E"]
    logits, maps = model(chapter_13["images"][:batch].to(dtype), need_weights=True)
    assert (logits.shape, logits.dtype, logits.device.type) == ((batch, 10), dtype, "meta")
    n = (32 // chapter_13["PATCH"]) ** 2
    wanted = {"CNN": None, "CNN + attention": (batch, 16 * 16, 16 * 16)}
    wanted["ViT"] = [(batch, 4, 1 + n, 1 + n)] * 2
    shapes = [m.shape for m in maps] if isinstance(maps, list) else getattr(maps, "shape", None)
    assert shapes == wanted[kind]
    if kind == "ViT":
        assert model.positions.shape == (1 + n, E)
    gradients_fit(model, logits)


def test_vision_has_one_budget_of_parameters_at_full_size(chapter_13):
    sizes = chapter_13["size"].values()
    assert len(sizes) == 3
    assert max(sizes) < 1.03 * min(sizes)


@pytest.fixture(scope="module")
def chapter_14():
    return defining(14, ["SCALE"], SCALE="full")


@pytest.mark.parametrize("mixed", [False, True])
def test_translator_at_full_size(chapter_14, mixed):
    """It looks at its tokens, which meta has not: two sentences, then, and real numbers."""
    pairs, vocabs, model = chapter_14["pairs"], chapter_14["vocabs"], chapter_14["new_model"]()
    (batch,) = data.batches(pairs[:2], *vocabs, 2)
    (B, S), L = batch.src.shape, batch.tgt_in.shape[1]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        logits, maps = model(*batch[:3], need_weights=True)
        loss, count = chapter_14["sequence_loss"](model, batch)
    assert (logits.shape, count) == ((B, L, len(vocabs[1])), (batch.tgt_out != 0).sum())
    assert logits.dtype == (torch.bfloat16 if mixed else torch.float32)
    layers, heads = chapter_14["LAYERS"], chapter_14["HEADS"]
    assert [m.shape for m in maps.encoder_self] == [(B, heads, S, S)] * layers
    assert [m.shape for m in maps.decoder_self] == [(B, heads, L, L)] * layers
    assert [m.shape for m in maps.cross] == [(B, heads, L, S)] * layers
    gradients_fit(model, loss)


def test_full_is_larger():
    """The cells are run with the other setting indeed."""
    sizes = {}
    for scale in ("small", "full"):
        space = defining(14, ["SCALE"], SCALE=scale)
        sizes[scale] = sum(p.numel() for p in space["new_model"]().parameters())
    assert sizes["full"] > 100 * sizes["small"]
