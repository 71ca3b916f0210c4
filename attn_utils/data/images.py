"""Labelled images: the digits that scikit-learn ships."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import TensorDataset


def digits(test_share: float = 0.25, seed: int = 0) -> tuple[TensorDataset, TensorDataset]:
    """Handwritten digits, 1,797 grey images of 8 x 8 pixels, split at random.

    Args:
        test_share: part of the images held out, between 0 and 1.
        seed: of the split.

    Returns:
        Training and test images; each item is an image (1, 8, 8), float32 in [0, 1], and its class, 0 to 9.

    Raises:
        ValueError: test_share not between 0 and 1.

    Source:
        Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, the
        test part; bundled with scikit-learn.
    """
    from sklearn.datasets import load_digits

    if not 0 < test_share < 1:
        raise ValueError(f"test_share must be between 0 and 1, got {test_share}")
    bundle = load_digits()
    images: Tensor = torch.tensor(bundle.images, dtype=torch.float32)[:, None] / 16  # (N, 1, 8, 8)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    test, training = order.tensor_split([round(test_share * len(images))])
    labels = torch.tensor(bundle.target)
    return tuple(TensorDataset(images[rows], labels[rows]) for rows in (training, test))
