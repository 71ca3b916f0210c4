"""A second device without one: numbers stay on the CPU, and what would meet on a GPU is watched.

Under `Pretend` a tensor that is sent to "cuda", or made there, or made from one that is there, counts as there. It says
so when asked for its device, and the error that a GPU would give is raised where it meets a tensor that stayed behind.
It sees what Python calls, not what happens inside a call, and knows nothing of a GPU's speed, memory or rounding.
"""

from __future__ import annotations

import weakref

import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves, tree_map_only

HERE = torch.device("cpu")
ASIDE = ("untyped_storage", "device", "_parse_to", "_has_compatible_shallow_copy_type")
FROM_THERE = ("cpu", "tolist", "item")
# Copies and properties may cross over; recurrent networks want lengths on the CPU, in whole numbers.
MAY_CROSS = ("copy_", "__set__", "to", *FROM_THERE)
LENGTHS = ("_pack_padded_sequence", "_pad_packed_sequence", "gru", "lstm")


class ApartError(RuntimeError):
    """Tensors of two devices meet."""


class Generator(torch.Generator):
    """One on the CPU, which remembers where it was asked for."""

    def __new__(cls, device="cpu"):
        self = super().__new__(cls)
        self.is_there = torch.device(device).type == "cuda"
        return self


class Pretend(TorchFunctionMode):
    """A context in which a tensor may count as being on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.there: set[int] = set()  # storages, which views share

    def is_there(self, x: torch.Tensor) -> bool:
        return x.untyped_storage()._cdata in self.there

    def send(self, x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in self.there:
            self.there.add(storage._cdata)
            weakref.finalize(storage, self.there.discard, storage._cdata)
        return x

    def goal(self, name: str, args: tuple, kwargs: dict) -> bool | None:
        """Whether a call names the GPU (True) or the CPU (False), by itself or by a tensor to be like."""
        if name in (*FROM_THERE, "cuda"):
            return name == "cuda"
        named = kwargs.get("device")
        if name == "to" and len(args) > 1 and not isinstance(args[1], torch.dtype):
            named = args[1]
        if isinstance(named, torch.Tensor):
            return self.is_there(named)
        return None if named is None else torch.device(named).type == "cuda"

    def check(self, name: str, tensors: list[torch.Tensor]) -> None:
        """A single number on the CPU may meet anything; an index may come from the CPU."""
        first, *others = map(self.is_there, tensors)
        if name in ("numpy", "__array__") and first:
            raise ApartError("can't convert cuda:0 device type tensor to numpy: .cpu() first")
        if name in ("__getitem__", "__setitem__") and not first and any(others[:1]):
            raise ApartError("indices should be on the CPU, as the indexed tensor is")
        if name in LENGTHS:
            tensors = [x for x in tensors if x.is_floating_point()]
        many = {self.is_there(x) for x in tensors if x.ndim or self.is_there(x)}
        if len(many) > 1 and name not in (*MAY_CROSS, "__getitem__", "__setitem__"):
            raise ApartError(f"{name}: expected all tensors on one device, found cuda:0 and cpu")

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", str(func))
        if name in ASIDE:
            return func(*args, **kwargs)
        if (resolve_name(func) or "").endswith(".device.__get__"):
            return torch.device("cuda:0") if self.is_there(args[0]) else HERE
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if tensors:
            self.check(name, tensors)
        goal, before = self.goal(name, args, kwargs), any(map(self.is_there, tensors))
        generator = kwargs.get("generator")
        if isinstance(generator, Generator) and generator.is_there != (
            before if goal is None else goal
        ):
            raise ApartError(
                f"{name}: the generator is on another device than the numbers it draws"
            )
        args = [HERE if names_gpu(x) else x for x in args]
        kwargs = {key: HERE if names_gpu(x) else x for key, x in kwargs.items()}
        out = args[0] if name == "cuda" else func(*args, **kwargs)
        if name == "tensor" and not isinstance(args[0], torch.Tensor):
            before = False  # a list of single numbers from there is read
        if name in ("copy_", "to"):
            before = self.is_there(args[0])
        if name in ("cpu", "cuda", "to") and goal is not None and goal != before:
            out = out.clone()  # another storage
        if goal or (goal is None and before):
            floats = (
                (lambda x: self.send(x) if x.is_floating_point() else x)
                if name in LENGTHS
                else None
            )
            return tree_map_only(torch.Tensor, floats or self.send, out)
        return out


def names_gpu(x) -> bool:
    return (isinstance(x, torch.device) and x.type == "cuda") or (
        isinstance(x, str) and x.partition(":")[0] == "cuda"
    )
