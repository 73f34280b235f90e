"""The code of the package `regularization.v1`, generated from the schema beside it."""
