"""A service that rides along with a vehicle."""

__version__ = "0.1.0"
