"""Fine-tuning of compressed networks, the optional part that needs PyTorch.

It starts from what a method makes of a network after training (`start.py`), trains every form of
compressed weight in its own terms, and hands exact integers back (`finetune.py`).  One idea is one
file; files that are named as in `compress` train what the file there makes.
"""

from importlib.util import find_spec

from ..fixed import ProgramError

if find_spec("torch") is None:
    raise ProgramError(
        "fine-tuning needs PyTorch, which is not installed; run pip install 'bitwright[train]'"
    )
