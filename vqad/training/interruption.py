"""Stopping when asked to: SIGTERM, as before a preemption, and SIGINT (Ctrl-C).

The first signal is heeded after the step that is being made, with a checkpoint; outside of steps,
and with the second signal, at once. Of several processes any may be asked, and all stop after the
same step; what they do outside of steps is finished first.
"""

import contextlib
import logging
import signal
from collections.abc import Iterator
from types import FrameType

import jax
from jax.experimental import multihost_utils

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(BaseException):
    """The run was asked to stop; not an error, so that nothing catches it on its way.

    Attributes:
      alone: whether other processes of the run, if there are any, go on.
    """

    def __init__(self, reason: str, alone: bool = False) -> None:
        super().__init__(reason)
        self.alone = alone


class Interruption:
    """Knows whether the run was asked to stop.

    Attributes:
      asked: name of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.asked: str | None = None
        self._waiting = False
        self._looks = 0

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Surrounds a run: signals raise ``Interrupted``, or are kept for ``after_steps``."""
        # With several processes JAX's runtime takes SIGTERM itself, and tells all of them.
        own = SIGNALS if jax.process_count() == 1 else (signal.SIGINT,)
        before = {number: signal.signal(number, self._receive) for number in own}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def after_steps(self) -> Iterator[None]:
        """Surrounds steps and the saving of what they made: the first signal waits for ``due``."""
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    def due(self) -> bool:
        """Whether to stop here; all processes must ask equally often, and are told the same."""
        if jax.process_count() == 1:
            return self.asked is not None
        # Not the step: what is agreed on is the first number that none has reached, and steps start
        # again in the next stage, or start late in a run that goes on.
        self._looks += 1
        return multihost_utils.reached_preemption_sync_point(self._looks)

    def check(self, where: str) -> None:
        """Raises ``Interrupted`` if a signal came where nothing could be stopped before."""
        if self.due():
            raise Interrupted(where)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        first, self.asked = self.asked is None, signal.Signals(number).name
        if first and jax.process_count() > 1:
            signal.raise_signal(signal.SIGTERM)
        elif not (self._waiting and first):
            raise Interrupted(self.asked, alone=True)
        logger.warning("%s: stopping after this step; once more stops at once", self.asked)
