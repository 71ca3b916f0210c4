"""A second device without one: numbers stay on the CPU, and who would meet on a GPU is watched.

Under `Pretend` a tensor that is sent to "cuda", or made there, or made from one that is there, counts as there. It says
so when asked for its device, and PyTorch's own error is raised where it meets a tensor that has stayed behind.
"""

from __future__ import annotations

import contextlib
import weakref

import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves, tree_map_only

# Copies, indices and properties may cross over; recurrent networks want their lengths on the CPU.
MAY_CROSS = ("copy_", "__setitem__", "__getitem__", "__set__", "index", "load_state_dict", "data")
LENGTHS = ("_pack_padded_sequence", "_pad_packed_sequence", "gru", "lstm", "rnn_tanh")
ASIDE = ("untyped_storage", "device", "_parse_to", "_has_compatible_shallow_copy_type")
LEAVE = ("cpu", "tolist", "item")


class Pretend(TorchFunctionMode):
    """Use as a context, or inside `pretending`, which also patches what no mode sees."""

    def __init__(self) -> None:
        super().__init__()
        self.there: set[int] = set()  # storages; views share them

    def is_there(self, x) -> bool:
        return x.untyped_storage()._cdata in self.there

    def send(self, x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in self.there:
            self.there.add(storage._cdata)
            weakref.finalize(storage, self.there.discard, storage._cdata)
        return x

    def target(self, name: str, args: tuple, kwargs: dict) -> str | None:
        """The type of the device that a call names, by itself or by a tensor to be like."""
        if name in LEAVE:
            return "cpu"
        if name == "cuda":
            return "cuda"
        named = kwargs.get("device")
        if name == "to" and len(args) > 1:
            named = args[1] if not isinstance(args[1], torch.dtype) else named
            if isinstance(named, torch.Tensor):
                return "cuda" if self.is_there(named) else "cpu"
        return None if named is None else torch.device(named).type

    def check(self, name: str, tensors: list[torch.Tensor]) -> None:
        """PyTorch's error where two devices meet; one number on the CPU may meet anything."""
        if name == "numpy" or name == "__array__":
            if self.is_there(tensors[0]):
                raise TypeError(
                    "can't convert cuda:0 device type tensor to numpy: use .cpu() first"
                )
        elif name in ("__getitem__", "__setitem__"):
            if not self.is_there(tensors[0]) and any(map(self.is_there, tensors[1:2])):
                raise RuntimeError(
                    "indices should be on the same device as the indexed tensor (cpu)"
                )
        elif name not in (*MAY_CROSS, *LENGTHS, *LEAVE, "to"):
            where = {self.is_there(x) for x in tensors if x.ndim or self.is_there(x)}
            if len(where) > 1:
                raise RuntimeError(
                    f"Expected all tensors to be on the same device, but found cuda:0 and cpu: {name}"
                )

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", str(func))
        if name in ASIDE:
            return func(*args, **kwargs)
        owner = str(resolve_name(func) or "")
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if owner.endswith(".device.__get__"):
            return torch.device("cuda:0" if self.is_there(args[0]) else "cpu")
        self.check(name, tensors)
        target = self.target(name, args, kwargs)
        stay = [torch.device("cpu") if is_cuda(x) else x for x in args]
        kwargs = {key: torch.device("cpu") if is_cuda(x) else x for key, x in kwargs.items()}
        if name == "cuda":
            return self.send(args[0].clone())
        out = func(*stay, **kwargs)
        before = any(map(self.is_there, tensors))
        if name == "tensor":  # a list of numbers from there is read
            before = isinstance(args[0], torch.Tensor) and before
        if target == "cpu" or (target is None and not before):
            if name in ("cpu", "to") and before:
                return out.clone()  # what shares its storage would count as there
            return out
        if name == "to" and not before:
            out = out.clone()
        if name in LENGTHS:
            return tree_map_only(
                torch.Tensor, lambda x: x if x.dtype == torch.int64 else self.send(x), out
            )
        return tree_map_only(torch.Tensor, self.send, out)


def is_cuda(x) -> bool:
    return (isinstance(x, torch.device) and x.type == "cuda") or (
        isinstance(x, str) and x.partition(":")[0] == "cuda"
    )


@contextlib.contextmanager
def pretending(monkeypatch):
    """As on a machine with a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    generator = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda device="cpu": generator())
    with Pretend() as mode:
        yield mode
