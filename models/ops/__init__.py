"""The operators: one file each, parameters, output range and definition."""

from .add import Add as Add
from .concatenate import Concatenate as Concatenate
from .depth_to_space import DepthToSpace as DepthToSpace
from .depthwise_dot import DepthwiseDot as DepthwiseDot
from .dot import Dot as Dot
from .lookup import Lookup as Lookup
from .pool import MaxPool as MaxPool
from .pool import SumPool as SumPool
from .requantise import Requantise as Requantise
from .reshape import Reshape as Reshape
from .scale import Scale as Scale
from .select import Select as Select
from .sparse_dot import SparseDot as SparseDot
from .table import Table as Table
from .table_sum import TableSum as TableSum
from .tables import Tables as Tables
from .tap_transform import TapTransform as TapTransform
from .thresholds import Thresholds as Thresholds
from .top_k import TopK as TopK
from .tree import Tree as Tree
from .window import Window as Window
