"""The operators: one file each, parameters, output range and definition."""

from .add import Add as Add
from .concatenate import Concatenate as Concatenate
from .depthwise_dot import DepthwiseDot as DepthwiseDot
from .dot import Dot as Dot
from .pool import MaxPool as MaxPool
from .pool import SumPool as SumPool
from .requantise import Requantise as Requantise
from .reshape import Reshape as Reshape
from .scale import Scale as Scale
from .select import Select as Select
from .sparse_dot import SparseDot as SparseDot
from .table import Table as Table
from .thresholds import Thresholds as Thresholds
from .top_k import TopK as TopK
from .window import Window as Window
