"""How each operator is written as QONNX; importing this enters all of them in `draft.write`."""

from . import levels as levels
from . import moves as moves
from . import windows as windows
from .borders import inward as inward
from .borders import outward as outward
from .draft import Draft as Draft
from .draft import check_exact as check_exact
from .draft import write as write
