"""The command line: parse, run a command, and turn what goes wrong into one sentence.

With `--json` standard output carries JSON alone; progress and errors go to standard error.  Exit
codes: 0 well, 1 values or cycles disagree (`check`: something stands in the file's way; `doctor`: a
needed tool is missing), 2 bad input or a missing tool, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from .arguments import BAD_INPUT, parser
from .commands import FAILED

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a user's mistake is one sentence, no traceback."""
    try:
        args = parser().parse_args(argv)
        code = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader has gone: nothing is left to say, not even while Python flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        return _complain(_os_sentence(error, argv), BAD_INPUT)
    except MemoryError:
        return _complain("the model does not fit this machine's memory; split it", BAD_INPUT)
    except ModuleNotFoundError as error:
        if (error.name or "bitwright").split(".")[0] == "bitwright":
            raise
        sentence = f"the Python package {error.name} is missing; `bitwright doctor` says more"
        return _complain(sentence, BAD_INPUT)
    except ValueError as error:
        if not _is_program_error(error):
            raise
        return _complain(str(error), BAD_INPUT)
    return code


def _complain(sentence: str, code: int) -> int:
    print(f"bitwright: {sentence}", file=sys.stderr)
    return code


def _os_sentence(error: OSError, argv: Sequence[str] | None) -> str:
    """The file (or the command, where the system names none), what is wrong, and what to do."""
    words = sys.argv[1:] if argv is None else argv
    thing = os.fsdecode(error.filename) if error.filename else " ".join(words[:1]) or "bitwright"
    remedy = "free some space" if error.errno == errno.ENOSPC else "mend that"
    return (
        f"{thing}: {error.strerror or error}; {remedy} and run it again, nothing was left half-done"
    )


def _is_program_error(error: ValueError) -> bool:
    from bitwright.models.fixed import ProgramError

    return isinstance(error, ProgramError)
