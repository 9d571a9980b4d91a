"""The version, which the package's metadata takes from here: nothing has to read that."""

__version__ = "0.1.0"
