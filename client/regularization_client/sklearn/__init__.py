"""Linear models of scikit-learn with any regularizer: the extra ``sklearn`` of the package.

For plain lasso, elastic net and ridge scikit-learn's own models are faster. These are for all other
penalties, and for one definition of them everywhere.
"""

from ._classification import ProximalClassifier, ProximalClassifierCV
from ._regression import ProximalRegressor, ProximalRegressorCV

__all__ = ["ProximalClassifier", "ProximalClassifierCV", "ProximalRegressor", "ProximalRegressorCV"]
