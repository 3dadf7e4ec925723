"""One call that makes a built model faster, with the same results up to rounding."""

from torch import nn

from ovavss_d2.modeling.ops.attention import Attention, FastAttention
from ovavss_d2.modeling.ops.deformable_attention import (
    FastMultiScaleDeformableAttention,
    MultiScaleDeformableAttention,
)
from ovavss_d2.modeling.ops.fast_linear import FastLinear
from ovavss_d2.modeling.ops.folded_norm import fold_frozen_norms
from ovavss_d2.modeling.ops.mask_product import FastMaskProduct, MaskProduct
from ovavss_d2.modeling.ops.matching_sums import FastMatchingSums, MatchingSums
from ovavss_d2.modeling.ops.replace import replace_modules

FAST_MODULES: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: FastLinear,
    Attention: FastAttention,
    MultiScaleDeformableAttention: FastMultiScaleDeformableAttention,
    MaskProduct: FastMaskProduct,
    MatchingSums: FastMatchingSums,
}


def accelerate(model: nn.Module) -> None:
    """Replace modules by faster ones, in place. Parameters and their names stay the same.

    The fast modules choose an algorithm by the device of their inputs, so the model may be moved
    afterwards.
    """
    fold_frozen_norms(model)
    replace_modules(model, FAST_MODULES)
