"""Files that come with installed packages."""

from importlib.util import find_spec
from pathlib import Path

from ibex.errors import ConfigurationError


def package_folder(package: str) -> Path:
    """Where an installed package lies, without importing it. Raises ConfigurationError."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            f"The package {package} is not installed.", hint="Run 'make setup'."
        )
    return Path(spec.origin).parent
