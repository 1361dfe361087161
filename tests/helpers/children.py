"""Runs a function in a forked child: what it does to the process, the tests survive."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable


def in_child(function: Callable[[], None], timeout: float = 60) -> int:
    """The child's exit status: 0 if `function` returned, 1 if it raised, -N if signal N ended it (14: `timeout`)."""
    with warnings.catch_warnings():
        # Newer Pythons warn of any fork beside threads; that a child gets on without them is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, timeout)
        try:
            function()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
