"""Tensors that are known when a graph is read, and exact arithmetic on them."""
