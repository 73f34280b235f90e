"""The catalogue: a folder for each family, in it a file for each regularizer. Importing it registers all."""

from importlib import import_module
from pathlib import Path

from ..regularizer import REGULARIZERS

_FILES = Path(__file__).parent.glob("*/*.py")

for _family, _module in sorted(((file.parent.name, file.stem) for file in _FILES), key=lambda pair: pair[1]):
    if _module != "__init__":
        import_module(f"{__name__}.{_family}.{_module}")

# One that is made of another has that entered before its turn.
for _name in sorted(REGULARIZERS):
    REGULARIZERS[_name] = REGULARIZERS.pop(_name)
