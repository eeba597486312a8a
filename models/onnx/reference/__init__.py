"""The exact meaning of graphs that hardware refuses, node by node."""
