"""How it is computed in gates, when, and at what cost: one unit per operator.  Imports models."""

from . import add as add
from . import concatenate as concatenate
from . import convert as convert
from . import depth_to_space as depth_to_space
from . import depthwise_dot as depthwise_dot
from . import dot as dot
from . import fifo as fifo
from . import fork as fork
from . import lookup as lookup
from . import pool as pool
from . import requantise as requantise
from . import scale as scale
from . import select as select
from . import sparse_dot as sparse_dot
from . import table as table
from . import table_sum as table_sum
from . import tables as tables
from . import tap_transform as tap_transform
from . import thresholds as thresholds
from . import top_k as top_k
from . import tree as tree
from . import window as window
