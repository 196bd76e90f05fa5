"""Layers: each wraps a Provider and is a Provider."""
