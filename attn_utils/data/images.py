"""Labelled images: the digits that scikit-learn ships, and CIFAR-10 from the network."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from attn_utils.data._download import download

# The home page is slow or silent since 2026; the others hold copies.
CIFAR10 = "cifar-10-binary.tar.gz"
HOSTS = (
    "https://www.cs.toronto.edu/~kriz/",
    "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/",
    "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
)
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
# Bytes of an image and of a file; CIFAR's have 31 million.
RECORD, LARGEST = 1 + 3 * 32 * 32, 40_000_000


def digits(seed: int = 0) -> tuple[TensorDataset, TensorDataset]:
    """Handwritten digits, 1,797 grey images of 8 x 8 pixels, a quarter of them, drawn at random, to test on.

    Args:
        seed: of the split.

    Returns:
        Training and test images; each item is an image (1, 8, 8), float32 in [0, 1], and its class, 0 to 9.

    Source:
        Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, the
        test part; bundled with scikit-learn.
    """
    from sklearn.datasets import load_digits

    bundle = load_digits()
    images: Tensor = torch.tensor(bundle.images, dtype=torch.float32)[:, None] / 16  # (N, 1, 8, 8)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    test, training = order.tensor_split([round(len(images) / 4)])
    labels = torch.tensor(bundle.target)
    return tuple(TensorDataset(images[rows], labels[rows]) for rows in (training, test))


def cifar10(
    root: str | Path | None = None, url: str | Path | None = None
) -> tuple[TensorDataset, TensorDataset]:
    """CIFAR-10, 50,000 training and 10,000 test photographs in ten classes; downloaded once (170 MB), then kept.

    The classes: airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck. The archive holds plain bytes,
    and nothing of it is unpacked to the disk.

    Args:
        root: where the archive is kept; by default the system's place for caches, on Linux ``~/.cache/attn_utils``.
        url: another address of the archive, or a local one, which is read where it is. Its checksum is not asked for.

    Returns:
        Training and test images; each item is an image (3, 32, 32), float32 in [0, 1], and its class, 0 to 9.

    Raises:
        ConnectionError: no host delivered the archive.
        FileNotFoundError: there is no file at a local ``url``.
        ValueError: an archive that is damaged, not the one above, or without its files.

    Source:
        Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images; https://www.cs.toronto.edu/~kriz/.
    """
    if url is None:
        path = download([host + CIFAR10 for host in HOSTS], SHA256, root, CIFAR10)
    else:
        path = download(url, None, root, None, _records)
    files = _records(path)
    return _images(files[:5]), _images(files[5:])


def _records(path: Path) -> list[Tensor]:
    """The records (N, 3,073), uint8, of the five training files and the test file in an archive."""
    wanted = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    found = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.split("/")[-1]
                if name in wanted and member.isfile():
                    if member.size > LARGEST or not member.size or member.size % RECORD:
                        got = f"{name} has {member.size:,} bytes"
                        raise ValueError(f"{got}, no records of {RECORD:,}")
                    data = bytearray(archive.extractfile(member).read())
                    found[name] = torch.frombuffer(data, dtype=torch.uint8).reshape(-1, RECORD)
            archive.fileobj.read()  # to the end: gzip compares its checksum only there
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is not a good archive: {error}") from error
    if missing := [name for name in wanted if name not in found]:
        raise ValueError(f"{path} lacks {missing}")
    return [found[name] for name in wanted]


def _images(files: list[Tensor]) -> TensorDataset:
    records = torch.cat(files)
    labels = records[:, 0].long()
    if labels.max() > 9:
        raise ValueError(f"classes go from 0 to 9, got {labels.max().item()}")
    return TensorDataset(records[:, 1:].float().div_(255).unflatten(1, (3, 32, 32)), labels)
