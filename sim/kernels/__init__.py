"""Numba kernels of the operators, one a file."""
