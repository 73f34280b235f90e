"""What docs/conversions.md says of other libraries, against those that are installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import regularization_kernels as kernels
from numpy.typing import NDArray
from regularization_kernels import REGULARIZERS, Groups, Regularizer

Array = NDArray[np.float64]
RANDOM = np.random.default_rng(3)
SAMPLES = 60
X = RANDOM.standard_normal((SAMPLES, 5))
Y = X @ np.array([1.5, -2.0, 0.0, 0.0, 0.4]) + 0.3 * RANDOM.standard_normal(SAMPLES)
LABELS = np.where(Y > 0, 1.0, -1.0)
THETA = RANDOM.standard_normal((6, 4))
GRADIENT = RANDOM.standard_normal((6, 4))
ETA, DECAY = 0.1, 0.3


def regularizer(name: str, **fields: Any) -> Regularizer:
    """The registered regularizer of that name."""
    return REGULARIZERS[name](**fields)


def step(x: Array, chosen: Regularizer, step_size: float, **operands: Any) -> Array:
    """The proximal step of the service."""
    result, _ = kernels.proximal_step(np.ascontiguousarray(x), chosen, step_size, **operands)
    return result


def gradient(x: Array, chosen: Regularizer, **operands: Any) -> Array:
    """The gradient of the service."""
    result, _ = kernels.gradient(np.ascontiguousarray(x), chosen, **operands)
    return result


def assert_optimal(solution: Array, loss_gradient: Callable[[Array], Array], chosen: Regularizer) -> None:
    """A proximal step from the minimizer of loss and penalty does not move."""
    scale = float(np.abs(loss_gradient(np.zeros_like(solution))).max())
    moved = step(solution, chosen, 1 / scale, loss_gradients=loss_gradient(solution))
    np.testing.assert_allclose(moved, solution, atol=1e-6)


LOSSES: dict[str, Callable[[Array], Array]] = {
    "mean half": lambda w: X.T @ (X @ w - Y) / SAMPLES,
    "half": lambda w: X.T @ (X @ w - Y),
    "mean": lambda w: 2 * X.T @ (X @ w - Y) / SAMPLES,
    "sum": lambda w: 2 * X.T @ (X @ w - Y),
}


def linear(name: str, **settings: Any) -> Any:
    """One of scikit-learn's linear models, fitted without an intercept and to the last digits."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    model = getattr(linear_model, name)(fit_intercept=False, tol=1e-12, max_iter=100_000, **settings)
    return model.fit(X, Y)


@pytest.mark.parametrize(("loss", "factor"), [("mean half", 1), ("half", SAMPLES), ("mean", 2)])
def test_sklearn_lasso(loss: str, factor: float) -> None:
    """Its alpha is the strength beside the mean over 2; beside other losses the factor of the loss more."""
    assert_optimal(
        linear("Lasso", alpha=0.2).coef_, LOSSES[loss], regularizer("l1_norm", strength=0.2 * factor)
    )


def test_sklearn_elastic_net() -> None:
    """Both parts times alpha, the squared one with a ½."""
    solution = linear("ElasticNet", alpha=0.2, l1_ratio=0.7).coef_
    assert_optimal(
        solution, LOSSES["mean half"], regularizer("elastic_net", l1_strength=0.14, l2_strength=0.06)
    )


@pytest.mark.parametrize(("loss", "factor"), [("half", 1), ("mean half", 1 / SAMPLES), ("sum", 2)])
def test_sklearn_ridge(loss: str, factor: float) -> None:
    """No ½ on either side, so it is the strength beside half of the sum of squares."""
    solution = linear("Ridge", alpha=7.0).coef_
    assert_optimal(solution, LOSSES[loss], regularizer("squared_l2_norm", strength=7.0 * factor))


def logistic(w: Array) -> Array:
    """The gradient of the sum of the logistic losses."""
    result: Array = -X.T @ (LABELS / (1 + np.exp(LABELS * (X @ w))))
    return result


@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize(("mean", "factor"), [(1, 1.0), (SAMPLES, 1 / SAMPLES)])
def test_sklearn_logistic_regression(penalty: str, mean: float, factor: float) -> None:
    """C multiplies the sum of the losses: the strength is 1/C beside the sum, 1/(C·n) beside the mean."""
    sklearn = pytest.importorskip("sklearn")
    linear_model = pytest.importorskip("sklearn.linear_model")
    settings: dict[str, Any] = {"l1_ratio": 1.0} if penalty == "l1" else {}
    if penalty == "l1" and tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8):
        settings["penalty"] = "elasticnet"  # newer releases infer it
    model = linear_model.LogisticRegression(
        C=0.25, solver="saga", fit_intercept=False, tol=1e-10, max_iter=100_000, random_state=0, **settings
    )
    solution = model.fit(X, LABELS).coef_[0]
    name = "l1_norm" if penalty == "l1" else "squared_l2_norm"
    assert_optimal(solution, lambda w: logistic(w) / mean, regularizer(name, strength=factor / 0.25))


def test_sklearn_multi_task_lasso() -> None:
    """Groups are the rows of (features, tasks), which is coef_ transposed."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    tasks = np.column_stack([Y, X @ np.array([1.0, 0.0, 0.2, 0.0, 0.0])])
    model = linear_model.MultiTaskLasso(alpha=0.3, fit_intercept=False, tol=1e-12, max_iter=100_000)
    solution = model.fit(X, tasks).coef_.T
    assert not solution.all()
    lasso = regularizer("group_lasso", strength=0.3, groups=Groups(axis=0))
    assert_optimal(solution, lambda w: X.T @ (X @ w - tasks) / SAMPLES, lasso)


@pytest.mark.parametrize("increasing", [True, False])
def test_sklearn_isotonic_regression(*, increasing: bool) -> None:
    """One over their sample weights are the scales of the step size."""
    isotonic = pytest.importorskip("sklearn.isotonic")
    weights = np.abs(X[:, 0]) + 0.01
    theirs = isotonic.isotonic_regression(Y, sample_weight=weights, increasing=increasing)
    ours = step(Y, regularizer("isotonic", decreasing=not increasing), 1.0, step_scales=1 / weights)
    assert not np.array_equal(theirs, isotonic.isotonic_regression(Y, increasing=increasing))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_prox_tv() -> None:
    """Their threshold is the strength at step size 1; their n - 1 weights are ours but for the last."""
    prox_tv = pytest.importorskip("prox_tv")
    weights = np.abs(X[:, 0])
    np.testing.assert_allclose(
        step(Y, regularizer("total_variation", strength=0.7), 1.0), prox_tv.tv1_1d(Y, 0.7), atol=1e-12
    )
    ours = step(Y, regularizer("total_variation", strength=1.0), 1.0, weights=weights)
    np.testing.assert_allclose(ours, prox_tv.tv1w_1d(Y, weights[:-1]), atol=1e-12)


def torch_step(optimizer: str, theta: Array, loss_gradient: Array, **settings: Any) -> Array:
    """The parameters after one step of an optimizer of PyTorch."""
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.from_numpy(theta.copy()))
    parameter.grad = torch.from_numpy(loss_gradient.copy())
    getattr(torch.optim, optimizer)([parameter], **settings).step()
    result: Array = parameter.detach().numpy()
    return result


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_torch_weight_decay_is_the_gradient(optimizer: str) -> None:
    """weight_decay·θ is added to the loss gradient: the gradient of the squared norm with the ½."""
    decay = regularizer("squared_l2_norm", strength=DECAY)
    theirs = torch_step(optimizer, THETA, GRADIENT, lr=ETA, weight_decay=DECAY)
    ours = torch_step(optimizer, THETA, gradient(THETA, decay, loss_gradients=GRADIENT), lr=ETA)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_torch_adamw_is_a_proximal_step_before() -> None:
    """1 - lr·w is 1 / (1 + lr·s) where s = w / (1 - lr·w)."""
    decay = regularizer("squared_l2_norm", strength=DECAY / (1 - ETA * DECAY))
    theirs = torch_step("AdamW", THETA, GRADIENT, lr=ETA, weight_decay=DECAY)
    ours = torch_step("AdamW", step(THETA, decay, ETA), GRADIENT, lr=ETA, weight_decay=0.0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_torch_sgd_in_one_proximal_step() -> None:
    """With the loss gradient divided by 1 - lr·w."""
    decay = regularizer("squared_l2_norm", strength=DECAY / (1 - ETA * DECAY))
    theirs = torch_step("SGD", THETA, GRADIENT, lr=ETA, weight_decay=DECAY)
    ours = step(THETA, decay, ETA, loss_gradients=GRADIENT / (1 - ETA * DECAY))
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_decay_and_a_step_of_the_same_strength_differ_in_the_second_order() -> None:
    """By (η·w)² of the parameter, less what is of the third order."""
    eta, w = 1e-3, 0.1
    ratio = step(THETA, regularizer("squared_l2_norm", strength=w), eta) / THETA - (1 - eta * w)
    np.testing.assert_allclose(ratio, (eta * w) ** 2, rtol=1e-3)


def test_torch_l1_by_hand_is_the_gradient() -> None:
    """Autograd gives sign(θ), 0 at 0."""
    torch = pytest.importorskip("torch")
    theta = np.where(THETA > 1, 0.0, THETA)
    parameter = torch.nn.Parameter(torch.from_numpy(theta))
    (0.2 * parameter.abs().sum()).backward()
    np.testing.assert_allclose(gradient(theta, regularizer("l1_norm", strength=0.2)), parameter.grad.numpy())


@pytest.mark.parametrize("amount", [0.25, 0.5, 0.75])
def test_torch_pruning_differs_at_halves_alone(amount: float) -> None:
    """As many go as theirs takes away, or one fewer where that is a half which it rounds up to the even."""
    torch = pytest.importorskip("torch")
    prune = pytest.importorskip("torch.nn.utils.prune")
    for size in range(1, 13):
        weights = np.random.default_rng(size).normal(size=size)
        layer = torch.nn.Linear(size, 1, bias=False, dtype=torch.float64)
        layer.weight = torch.nn.Parameter(torch.from_numpy(weights.copy())[None])
        prune.global_unstructured([(layer, "weight")], pruning_method=prune.L1Unstructured, amount=amount)
        theirs = layer.weight.detach().numpy().ravel()
        ours = step(weights, regularizer("top_k", fraction=1 - amount), 1.0)
        share = amount * size
        if share % 1 == 0.5 and round(share) > share:
            assert np.count_nonzero(ours) == np.count_nonzero(theirs) + 1
        else:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("block", [(2, 3), (1, 4), (4, 1)])
def test_torch_weight_norm_sparsifier_by_blocks(block: tuple[int, int]) -> None:
    """Blocks of a weight (out, in) of least norm go."""
    torch = pytest.importorskip("torch")
    pruning = pytest.importorskip("torch.ao.pruning")
    weights = np.random.default_rng(3).normal(size=(8, 12))
    model = torch.nn.Sequential(torch.nn.Linear(12, 8, bias=False, dtype=torch.float64))
    model[0].weight = torch.nn.Parameter(torch.from_numpy(weights.copy()))
    sparsifier = pruning.WeightNormSparsifier(0.75, block)
    sparsifier.prepare(model, [{"tensor_fqn": "0.weight"}])
    sparsifier.step()
    theirs = model[0].weight.detach().numpy()
    rows, columns = block
    ours = step(weights, regularizer("block_sparsity", fraction=0.25, rows=rows, columns=columns), 1.0)
    np.testing.assert_array_equal(ours, theirs)


def test_torch_spectral_norm() -> None:
    """After many power iterations theirs is W / σ₁."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 6, bias=False, dtype=torch.float64)
    weights = layer.weight.detach().numpy().copy()
    torch.nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=2000)
    theirs = layer.weight.detach().numpy()
    ours = step(weights, regularizer("spectral_normalization", target=1.0, scale_up=True), 1.0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Keras, on whichever of its backends is installed."""
    backend = next((name for name in ("jax", "torch") if _is_installed(name)), "tensorflow")
    monkeypatch.setenv("KERAS_BACKEND", backend)
    return pytest.importorskip("keras")


def _is_installed(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def test_keras_regularizers(keras: Any) -> None:
    """Neither has a ½."""
    theta = THETA.astype(np.float32)
    theirs = keras.regularizers
    pairs = [
        (theirs.L1(0.2), regularizer("l1_norm", strength=0.2)),
        (theirs.L2(0.2), regularizer("squared_l2_norm", strength=0.4)),
        (theirs.L1L2(0.2, 0.3), regularizer("elastic_net", l1_strength=0.2, l2_strength=0.6)),
    ]
    for their, our in pairs:
        assert float(their(theta)) == pytest.approx(kernels.penalty(theta, our).total.penalty.value, rel=1e-6)


def test_keras_constraints(keras: Any) -> None:
    """The bound on norms has its axis the other way round, and a factor on those inside as well."""
    theta = THETA.astype(np.float32)
    kept = keras.ops.convert_to_numpy(keras.constraints.NonNeg()(theta))
    np.testing.assert_array_equal(step(theta, regularizer("box", lower=0.0), 1.0), kept)
    theirs = keras.ops.convert_to_numpy(keras.constraints.MaxNorm(2.0, axis=0)(theta))
    ours = step(theta, regularizer("max_norm", radius=2.0, groups=Groups(axis=1)), 1.0)
    norms = np.linalg.norm(theta, axis=0)
    assert norms.min() < 2 < norms.max()
    np.testing.assert_allclose(ours * norms / (1e-7 + norms), theirs, rtol=1e-6)
    np.testing.assert_array_equal(ours[:, norms < 2], theta[:, norms < 2])


def test_keras_norms_from_below(keras: Any) -> None:
    """They differ by the same factor, and in what becomes of a column of zeros."""
    theta = THETA.astype(np.float32)
    theta[:, 1] *= 0.1
    norms = np.linalg.norm(theta, axis=0)
    assert norms.min() < 0.5 < 2 < norms.max()
    columns = Groups(axis=1)
    for their, our in (
        (keras.constraints.UnitNorm(axis=0), regularizer("unit_norm", groups=columns)),
        (
            keras.constraints.MinMaxNorm(0.5, 2.0, axis=0),
            regularizer("min_max_norm", lower=0.5, upper=2.0, groups=columns),
        ),
    ):
        theirs = keras.ops.convert_to_numpy(their(theta))
        np.testing.assert_allclose(step(theta, our, 1.0) * norms / (1e-7 + norms), theirs, rtol=1e-6)
        zeros = np.zeros((3, 2), np.float32)
        assert not np.any(keras.ops.convert_to_numpy(their(zeros)))
        assert np.all(step(zeros, our, 1.0)[0] > 0)


def test_keras_ftrl(keras: Any) -> None:
    """Its step is the elastic net's with twice the l2, from -z/σ, with step sizes 1/σ."""
    eta, l1, l2, initial = 0.5, 0.3, 0.2, 0.1
    variable = keras.Variable(THETA, dtype="float32")
    settings = {"l1_regularization_strength": l1, "l2_regularization_strength": l2}
    optimizer = keras.optimizers.Ftrl(eta, initial_accumulator_value=initial, **settings)
    optimizer.build([variable])
    optimizer.apply_gradients([(keras.ops.convert_to_tensor(GRADIENT, dtype="float32"), variable)])
    theirs = keras.ops.convert_to_numpy(variable.value)
    sigma = np.sqrt(initial + GRADIENT**2) / eta
    z = GRADIENT - (sigma - np.sqrt(initial) / eta) * THETA
    elastic_net = regularizer("elastic_net", l1_strength=l1, l2_strength=2 * l2)
    np.testing.assert_allclose(
        step(-z / sigma, elastic_net, 1.0, step_scales=1 / sigma), theirs, rtol=1e-4, atol=1e-6
    )
    assert not theirs.all()


@pytest.fixture
def optax() -> Any:
    """Optax, in float64."""
    pytest.importorskip("jax").config.update("jax_enable_x64", True)
    return pytest.importorskip("optax")


def optax_step(optimizer: Any, theta: Array, loss_gradient: Array) -> Array:
    """The parameters after one step."""
    updates, _ = optimizer.update(loss_gradient, optimizer.init(theta), theta)
    return np.asarray(theta + updates)


def test_optax_decayed_weights(optax: Any) -> None:
    """The same gradient."""
    theirs = optax_step(optax.chain(optax.add_decayed_weights(DECAY), optax.sgd(ETA)), THETA, GRADIENT)
    decay = regularizer("squared_l2_norm", strength=DECAY)
    ours = THETA - ETA * gradient(THETA, decay, loss_gradients=GRADIENT)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_optax_adamw(optax: Any) -> None:
    """As PyTorch's."""
    theirs = optax_step(optax.adamw(ETA, weight_decay=DECAY), THETA, GRADIENT)
    decay = regularizer("squared_l2_norm", strength=DECAY / (1 - ETA * DECAY))
    ours = optax_step(optax.adam(ETA), step(THETA, decay, ETA), GRADIENT)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_optax_projections(optax: Any) -> None:
    """The nearest points of the same sets."""
    x, theirs = THETA[:, 0], optax.projections
    pairs = [
        (theirs.projection_l1_ball(x, 1.5), regularizer("l1_ball", radius=1.5)),
        (theirs.projection_l2_ball(x, 1.5), regularizer("l2_ball", radius=1.5)),
        (theirs.projection_simplex(x, 1.5), regularizer("simplex", radius=1.5)),
        (theirs.projection_box(x, -0.5, 0.7), regularizer("box", lower=-0.5, upper=0.7)),
    ]
    for their, our in pairs:
        np.testing.assert_allclose(step(x, our, 1.0), np.asarray(their), rtol=1e-12, atol=1e-14)


@pytest.mark.filterwarnings("ignore")
def test_jaxopt_prox() -> None:
    """Its ridge has the ½ that its documentation leaves out."""
    pytest.importorskip("jax").config.update("jax_enable_x64", True)
    prox = pytest.importorskip("jaxopt").prox
    x = THETA[:, 0]
    pairs = [
        (prox.prox_lasso(x, 0.2, ETA), regularizer("l1_norm", strength=0.2)),
        (prox.prox_ridge(x, 0.2, ETA), regularizer("squared_l2_norm", strength=0.2)),
        (
            prox.prox_elastic_net(x, (0.2, 3.0), ETA),
            regularizer("elastic_net", l1_strength=0.2, l2_strength=0.2 * 3.0),
        ),
    ]
    for their, our in pairs:
        np.testing.assert_allclose(step(x, our, ETA), np.asarray(their), rtol=1e-12)
