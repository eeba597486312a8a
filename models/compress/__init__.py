"""Compression methods, one paper (or one idea) a file; importing this package makes them known."""

from . import bwnh as bwnh
from . import cp as cp
from . import ffn as ffn
from . import maddness as maddness
from . import pruning as pruning
from . import qcnn as qcnn
from . import sign as sign
from . import spatial as spatial
from . import svd as svd
from . import ternary as ternary
from . import tucker as tucker
from . import uniform as uniform
from . import winograd as winograd
