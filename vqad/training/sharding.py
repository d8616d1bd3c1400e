"""Where arrays live: one object that says it for batches and for everything else."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vqad.errors import VqadError


@dataclasses.dataclass(frozen=True)
class Placement:
    """Placement over a mesh with the axis ``data``.

    Attributes:
      mesh: all devices of all processes along ``data``.
    """

    mesh: Mesh

    @classmethod
    def over_all_devices(cls) -> "Placement":
        """Places over every device there is."""
        return cls(Mesh(np.asarray(jax.devices()), ("data",)))

    @property
    def replicated(self) -> NamedSharding:
        """Parameters, optimizer state, codebooks: a copy on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch(self) -> NamedSharding:
        """Batches: the first axis split over ``data``."""
        return NamedSharding(self.mesh, PartitionSpec("data"))

    def check_batch_size(self, name: str, size: int) -> None:
        """Refuses a batch size that the devices cannot share evenly.

        Raises:
          VqadError: ``size`` is not divisible by the number of devices.
        """
        devices = self.mesh.size
        if size % devices:
            above = -(-size // devices) * devices
            raise VqadError(
                f"{name}: {size} is not divisible by the {devices} devices; give {above}"
            )

    def put_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Hands this process's rows of a batch to the devices; returns the global [n, ...]."""
        return {
            key: jax.make_array_from_process_local_data(self.batch, rows)
            for key, rows in batch.items()
        }

    def ahead(
        self, batches: Iterable[Mapping[str, np.ndarray]], count: int = 2
    ) -> Iterator[dict[str, jax.Array]]:
        """Hands batches to the devices, ``count`` of them before they are asked for."""
        waiting = collections.deque()
        for batch in batches:
            waiting.append(self.put_batch(batch))
            if len(waiting) > count:
                yield waiting.popleft()
        yield from waiting

    def put(self, tree: Any) -> Any:
        """Puts a copy of a tree of arrays on every device."""
        return jax.device_put(tree, self.replicated)
