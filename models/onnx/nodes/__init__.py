"""One handler per ONNX operator; importing this enters them all in `handler.HANDLERS`."""

from . import answers as answers
from . import integer as integer
from . import joins as joins
from . import linear as linear
from . import pointwise as pointwise
from . import pooling as pooling
from . import quantising as quantising
from . import shaping as shaping
from .handler import HANDLERS as HANDLERS
from .handler import Handler as Handler
