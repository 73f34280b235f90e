"""Proximal steps in PyTorch's training loop: the extra ``torch`` of the package.

``ProximalStep`` hooks into an optimizer, which stays the optimizer that schedulers, scalers, checkpoints and
trainers know. The steps themselves are calls of the server.
"""

from ._dropout import DropConnect, Dropout, dropout_mask
from ._model_plan import ModelPlan, plan_for
from ._proximal_step import Metric, ProximalStep, Share, StepSize
from ._sharing import SharedParameters, share_parameters

__all__ = [
    "DropConnect",
    "Dropout",
    "Metric",
    "ModelPlan",
    "ProximalStep",
    "Share",
    "SharedParameters",
    "StepSize",
    "dropout_mask",
    "plan_for",
    "share_parameters",
]
