"""Magnesium CDS: decision support for magnesium disorders over CDS Hooks and REST."""

__version__ = "0.1.0"
