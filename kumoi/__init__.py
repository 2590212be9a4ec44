"""Kumoi (雲居): the program of a sovereign cloud."""

__version__ = "0.1.0"
