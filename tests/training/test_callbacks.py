"""Keras' and Lightning's own callbacks, where they are installed, beside the rule that stands for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from regularization_kernels.training import Patience

from tests.training.test_early_stopping import history_of, mode_of, perhaps

HISTORIES = 300


class Model:
    """As much of a Keras model as the callback looks at."""

    stop_training = False


@pytest.mark.filterwarnings("ignore")
def test_keras_own_callback_agrees() -> None:
    """The stop, the best epoch and the count, in random histories, of a recent release."""
    callbacks: Any = pytest.importorskip("keras", minversion="3.5").callbacks
    random = np.random.default_rng(5)
    for _ in range(HISTORIES):
        mode, history = mode_of(random), history_of(random)
        given: dict[str, Any] = {
            "patience": int(random.integers(0, 6)),
            "min_delta": float(random.choice([0.0, 0.1, 0.5])),
            "baseline": perhaps(random, round(random.normal(), 1)),
        }
        start = int(random.choice([0, 0, 1, 4]))
        callback = callbacks.EarlyStopping("loss", mode=mode.value, start_from_epoch=start, **given)
        model = Model()
        callback.set_model(model)
        callback.on_train_begin()
        stopped = None
        for epoch, value in enumerate(history):
            callback.on_epoch_end(epoch, {"loss": np.float64(value)})
            if model.stop_training:
                stopped = epoch
                break
        rule = Patience(mode=mode, start_from=start, earliest_stop=1, first_is_best=True, **given)
        verdict = rule.check(history)
        assert (verdict.stop_index, verdict.wait) == (stopped, callback.wait)
        assert (verdict.best_index or 0) == callback.best_epoch


@pytest.mark.filterwarnings("ignore")
def test_lightning_s_own_callback_agrees() -> None:
    """The stop and the count, in random histories, in float64."""
    callbacks: Any = pytest.importorskip("pytorch_lightning").callbacks
    torch: Any = pytest.importorskip("torch")
    random = np.random.default_rng(6)
    for _ in range(HISTORIES):
        mode, history = mode_of(random), history_of(random)
        given: dict[str, Any] = {
            "patience": int(random.integers(0, 6)),
            "min_delta": float(random.choice([0.0, 0.1, 0.5])),
            "check_finite": bool(random.random() < 0.5),
            "stopping_threshold": perhaps(random, round(2 * random.normal(), 1)),
            "divergence_threshold": perhaps(random, round(2 * random.normal(), 1)),
        }
        callback = callbacks.EarlyStopping("loss", mode=mode.value, **given)
        callback.best_score = callback.best_score.double()
        stopped = None
        for check, value in enumerate(history):
            stops, _ = callback._evaluate_stopping_criteria(torch.tensor(value, dtype=torch.float64))
            if stops:
                stopped = check
                break
        verdict = Patience(mode=mode, **given).check(history)
        assert (verdict.stop_index, verdict.wait) == (stopped, callback.wait_count)
