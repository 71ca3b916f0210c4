"""Interactive figures of the book: each answers on the static page, in Jupyter, in VS Code and in Colab."""

from attn_utils.explorers.alignment import Alignment
from attn_utils.explorers.attention_heads import AttentionHeads
from attn_utils.explorers.kernel_pooling import KernelPooling
from attn_utils.explorers.kernel_width import KernelWidth
from attn_utils.explorers.mask_painter import MaskPainter
from attn_utils.explorers.pixel_attention import PixelAttention
from attn_utils.explorers.positions import Positions
from attn_utils.explorers.query_and_keys import QueryAndKeys
from attn_utils.explorers.reach import Reach
from attn_utils.explorers.softmax_saturation import SoftmaxSaturation
from attn_utils.explorers.width_descent import WidthDescent

__all__ = [
    "Alignment", "AttentionHeads", "KernelPooling", "KernelWidth", "MaskPainter", "PixelAttention", "Positions",
    "QueryAndKeys", "Reach", "SoftmaxSaturation", "WidthDescent",
]  # fmt: skip
