"""How a contestant's process is paced: it runs steps when told to, and says how long they took."""

import json
import resource
import sys
import time
from collections.abc import Callable


class Pacer:
    """Calls ``tick`` after each step; blocks there until more steps are wanted.

    The protocol: a line with a number of steps comes in on stdin, a line of JSON with their seconds
    goes out. The first step, with compilation, is reported unasked. At the end of stdin the process
    exits, saying its peak memory and the step's arithmetic first.

    Attributes:
      flops: returns the floating point operations of a step; may take its time.
    """

    def __init__(self) -> None:
        # Whatever the code under test prints must not get between the reports.
        self._out = sys.stdout
        sys.stdout = sys.stderr
        self.flops: Callable[[], float] = lambda: 0.0
        self._wanted = 1
        self._seconds: list[float] = []
        self._last = time.perf_counter()

    def tick(self) -> None:
        """To be called when a step's results are there."""
        self._seconds.append(time.perf_counter() - self._last)
        if len(self._seconds) == self._wanted:
            self._send({"seconds": self._seconds})
            line = sys.stdin.readline()
            if not line:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                self._send({"peak_mib": peak, "flops": self.flops()})
                raise SystemExit
            self._wanted, self._seconds = int(line), []
        self._last = time.perf_counter()

    def _send(self, message: dict) -> None:
        print(json.dumps(message), file=self._out, flush=True)
