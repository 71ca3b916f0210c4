"""What chapters do with a trained model works where the model is on a GPU: tried on a pretended one, by `accelerator`.

Those are the chapters that train. Training is replaced by one step that leaves the model there, as `train` does on a
GPU, and sentences end after three words, so results mean nothing and assertions are left out. Exercises are other
tests' matter.
"""

from __future__ import annotations

import ast
import copy
import dis
import functools
import traceback
import types
import warnings

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import send_to_device
from accelerator import ApartError, Generator, Pretend
from nbformat.v4 import new_code_cell, new_notebook
from support import CHAPTERS, parse, read, tags
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from attn_utils import data, decoding, training

TRAINING = [p for p in CHAPTERS if "attn_utils.training import" in p.read_text(encoding="utf-8")]
# Cells that make or read one of these are left out.
ALONE = {
    "bleu_by_hand",  # chapter 6: needs four right words in a row, and no tensor
    "seconds_in_all",  # chapter 14: other processes, which know nothing of the pretended GPU
}


class WithoutAssertions(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.copy_location(ast.Pass(), node)


def one_step(model, batches, loss_fn=training.sequence_loss, *, epochs, valid=None, **_):
    """In place of `train`: one batch, and the model is on the GPU afterwards."""
    model.train().to("cuda")
    loss, count = loss_fn(model, send_to_device(next(iter(batches)), "cuda"))
    (loss / count).backward()
    model.zero_grad()
    model.eval()
    return training.History(*([1.0] * epochs for _ in range(4)), best=None if valid is None else 0)


def same_device(one, other, **_):
    """In place of `assert_close`."""
    devices = {torch.as_tensor(x).device.type for x in (one, other) if not isinstance(x, list)}
    if len(devices) > 1:
        raise ApartError(f"assert_close of {devices}")


def read_and_made(code):
    """The global names that code reads before it makes them, and those it makes."""
    reads, makes = set(), set()
    for step in dis.get_instructions(code):
        if step.opname == "STORE_NAME":
            makes.add(step.argval)
        elif step.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
            reads |= {step.argval} - makes
        elif isinstance(step.argval, types.CodeType):  # of a function or a class
            reads |= read_and_made(step.argval)[0] - makes
    return reads, makes


def cells_around_training(path):
    """Those that train, all that use what they made, and what they all need."""
    code = [(i, c) for i, c in enumerate(read(path).cells[2:], 2) if c.cell_type == "code"]
    code = [(i, c) for i, c in code if not {"exercise-check", "exercise-solution"} & {*tags(c)}]
    cells = []
    for i, cell in code:
        tree = ast.fix_missing_locations(WithoutAssertions().visit(parse(cell.source)))
        program = compile(tree, f"cell {i}", "exec")
        reads, makes = read_and_made(program)
        if not (reads | makes) & ALONE:
            cells.append((program, reads, makes, "imports" in tags(cell)))
    wanted, hot, needed = [], {"train", "device"}, set()
    for _, reads, makes, imports in cells:
        is_hot = bool(reads & hot)
        if not imports:
            hot = hot | makes if is_hot else hot - makes
        wanted.append(imports or is_hot)
    for _ in cells:  # a function may be defined after the one that calls it
        for i, (_, reads, makes, _) in enumerate(cells):
            if wanted[i] or makes & needed:
                wanted[i] = True
                needed |= reads
    return [program for (program, *_), yes in zip(cells, wanted, strict=True) if yes]


def run(path, monkeypatch):
    """Run those cells as on a machine with a GPU; what went wrong, by cell and line."""
    search = decoding._search
    fewer = functools.partial(data.grammar_splits, n_test=60)
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(training, "train", one_step)
    monkeypatch.setattr(data, "grammar_splits", fewer)
    monkeypatch.setattr(decoding, "_search", lambda *args: search(*args[:-1], 3))
    monkeypatch.setattr(decoding, "corpus_bleu", lambda said, wanted: 50.0)
    monkeypatch.setattr(torch.testing, "assert_close", same_device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch, "Generator", Generator)
    for state in (PartialState, AcceleratorState, GradientState):  # for later tests as before
        monkeypatch.setattr(state, "_shared_state", {})
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    space, wrong = {"__name__": "__main__"}, []
    with Pretend(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for program in cells_around_training(path):
            try:
                exec(program, space)
            except Exception as error:
                frames = traceback.extract_tb(error.__traceback__)
                lines = [f"{f.filename}, line {f.lineno}" for f in frames if "cell" in f.filename]
                wrong.append(f"{' > '.join(lines)}: {error!r}")
    plt.close("all")
    return wrong


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.stem)
def test_chapters_find_their_models_on_the_gpu(path, monkeypatch):
    wrong = run(path, monkeypatch)
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def gpu():
    with Pretend() as mode:
        yield mode


def test_what_counts_as_there(gpu):
    there, here = torch.ones(3, device="cuda"), torch.ones(3)
    for x in (there + 1, there[:2], there.double(), torch.zeros_like(there), here.to("cuda")):
        assert x.device.type == "cuda"
    for x in (
        there.new_zeros(2),
        torch.arange(2, device=there.device),
        here.to(there),
        here.cuda(),
    ):
        assert x.device.type == "cuda"
    copies = [there.cpu(), there.to("cpu"), there.to(here), torch.tensor(there.tolist())]
    for x in (here, *copies, torch.zeros(3).copy_(there), torch.tensor([there[0], there[1]])):
        assert x.device.type == "cpu"
    assert there.device.type == "cuda"


def test_what_may_meet(gpu):
    there = torch.ones(3, device="cuda")
    assert (there * torch.tensor(2.0)).tolist() == [2, 2, 2]
    assert there[torch.tensor([0, 1])].device.type == "cuda"
    drawn = torch.multinomial(there, 1, generator=Generator("cuda"))
    assert drawn.device.type == "cuda"
    assert torch.randperm(3, generator=Generator()).device.type == "cpu"
    gru, x = nn.GRU(3, 4, batch_first=True).to("cuda"), torch.ones(2, 5, 3, device="cuda")
    packed = pack_padded_sequence(x, torch.tensor([5, 2]), batch_first=True)
    outputs, lengths = pad_packed_sequence(gru(packed)[0], batch_first=True)
    assert (outputs.device.type, lengths.device.type) == ("cuda", "cpu")


@pytest.mark.parametrize(
    "meet",
    [
        lambda there, here: there + here,
        lambda there, here: torch.cat([here, there]),
        lambda there, here: here[there.long()],
        lambda there, here: there.numpy(),
        lambda there, here: np.asarray(there),
        lambda there, here: nn.Linear(3, 2)(there),
        lambda there, here: nn.Linear(3, 2).to("cuda")(here),
        lambda there, here: nn.Embedding(3, 2).to("cuda")(here.long()),
        lambda there, here: copy.deepcopy(nn.GRU(3, 2).to("cuda"))(here[None]),
        lambda there, here: torch.nn.functional.mse_loss(there, here),
        lambda there, here: torch.multinomial(there, 1, generator=Generator()),
        lambda there, here: torch.rand(3, generator=Generator("cuda")),
    ],
)
def test_what_may_not_meet(meet, gpu):
    with pytest.raises(ApartError):
        meet(torch.ones(3, device="cuda"), torch.ones(3))


def test_models_and_gradients_move(gpu):
    layer, there = nn.Linear(3, 2).to("cuda"), torch.ones(1, 3, device="cuda")
    layer(there).sum().backward()
    (grad,) = torch.autograd.grad(layer(there).sum(), [layer.weight])
    for x in (layer.weight, layer.weight.grad, grad):
        assert x.device.type == "cuda"
    layer.cpu()
    assert {p.device.type for p in layer.parameters()} == {"cpu"}
    layer(torch.ones(1, 3))


def test_a_forgotten_model_is_found(tmp_path, monkeypatch):
    """A chapter that uses a trained model where its data are is refused; with the model brought back it passes."""
    cells = [
        "# A title", "setup", "import torch\nfrom attn_utils.training import train",
        "def fit(model):\n    train(model, [(torch.ones(2, 3), torch.ones(2).long())], classes, epochs=1){}",
        "def classes(model, batch):\n    return model(batch[0]).sum(), torch.tensor(2)",
        "model = torch.nn.Linear(3, 2)\nfit(model)", "print(model(torch.ones(1, 3)))",
    ]  # fmt: skip
    for end, count in (("", 1), ("\n    model.cpu()", 0)):
        kinds = [new_code_cell(cell.replace("{}", end)) for cell in cells]
        kinds[2].metadata["tags"] = ["imports"]
        nbformat.write(new_notebook(cells=kinds), tmp_path / "chapter.ipynb")
        wrong = run(tmp_path / "chapter.ipynb", monkeypatch)
        assert len(wrong) == count
        assert not count or "cell 6" in wrong[0]
