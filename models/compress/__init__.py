"""Compression methods, one paper (or one idea) a file; importing this package makes them known."""

from . import bwnh as bwnh
from . import pruning as pruning
from . import sign as sign
from . import ternary as ternary
from . import uniform as uniform
