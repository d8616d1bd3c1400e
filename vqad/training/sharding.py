"""Where arrays live: one object that says it for batches and for everything else."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vqad.errors import VqadError


@dataclasses.dataclass(frozen=True)
class Shardings:
    """Shardings over a mesh with the axes ``data`` and ``model``.

    Every device works on its own images, along both axes. Of the state each device holds a copy, or
    a part of each large array: with ``optimizer`` the optimizer's arrays are split over ``data``
    (Rajbhandari et al., "ZeRO", 2020, stage 1), with ``parameters`` these and the parameters over
    ``model``, to be gathered where they are used (stage 3, or FSDP).
    """

    mesh: Mesh  # all devices of all processes
    split: str = "nothing"  # what is split: ``nothing``, ``optimizer`` or ``parameters``
    min_size: int = 2**14  # arrays of fewer elements are not split

    @classmethod
    def over_devices(
        cls, data: int = -1, model: int = 1, split: str = "nothing", devices: Any = None
    ) -> "Shardings":
        """Lays devices, all there are if None, out as a mesh, those of a process side by side.

        So numbers do not depend on which process has which devices. ``data`` and ``model`` are how
        many lie along each axis, -1 all that ``model`` leaves; a VqadError if there are others.
        """
        devices = np.ravel(jax.devices() if devices is None else devices)
        devices = np.asarray(sorted(devices, key=lambda device: device.process_index))
        along = devices.size // model if data == -1 else data
        if along * model != devices.size:
            raise VqadError(
                f"config.mesh: {data} x {model} (data x model) for {devices.size} devices; give "
                "axes whose product that is, -1 for data takes what is left"
            )
        return cls(Mesh(devices.reshape(along, model), ("data", "model")), split)

    @property
    def platform(self) -> str:
        """What the devices are: ``cpu``, ``gpu`` or ``tpu``."""
        return self.mesh.devices.flat[0].platform

    @property
    def replicated(self) -> NamedSharding:
        """A copy on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch(self) -> NamedSharding:
        """Batches: the first axis split over all devices."""
        return NamedSharding(self.mesh, PartitionSpec(self.mesh.axis_names))

    def on_each_device(
        self, function: Callable[[Any, Any], tuple[Any, Any]], whole: Any, rows: Any
    ) -> tuple[Any, Any]:
        """Applies a function on every device to the device's own rows; inside of ``jax.jit``.

        Of what every device sees whole, and of rows [n, ...], it makes a tree of means over the
        rows and a tree of arrays with rows. Returned are the means over all rows, and all rows.
        """
        everywhere, split = PartitionSpec(), self.batch.spec

        def share(whole: Any, rows: Any) -> tuple[Any, Any]:
            means, rows = function(whole, rows)
            return jax.lax.pmean(means, self.mesh.axis_names), rows

        specs = {"in_specs": (everywhere, split), "out_specs": (everywhere, split)}
        # Unchecked, gradients stay those of the own rows until they are averaged here.
        return jax.shard_map(share, mesh=self.mesh, check_vma=False, **specs)(whole, rows)

    @property
    def height(self) -> NamedSharding:
        """Images [n, h, w, ...]: the height split over all devices."""
        return NamedSharding(self.mesh, PartitionSpec(None, self.mesh.axis_names))

    def of_params(self, params: Any) -> Any:
        """Shardings of trained parameters, for a tree of arrays or shapes."""
        return jax.tree.map(self._part_over("model", self.split == "parameters"), params)

    def of_optimizer(self, opt_state: Any) -> Any:
        """Shardings of the optimizer's state, for a tree of arrays or shapes."""
        axis = "model" if self.split == "parameters" else "data"
        return jax.tree.map(self._part_over(axis, self.split != "nothing"), opt_state)

    def _part_over(self, axis: str, wanted: bool) -> Callable[[Any], NamedSharding]:
        """Says for an array: its largest side that can be split over a mesh axis, if any."""

        def place(array: Any) -> NamedSharding:
            sides = [n if n % self.mesh.shape[axis] == 0 else 0 for n in array.shape]
            if not wanted or array.size < self.min_size or not any(sides):
                return self.replicated
            spec = [None] * array.ndim
            spec[sides.index(max(sides))] = axis
            return NamedSharding(self.mesh, PartitionSpec(*spec))

        return place

    def check_divides(self, name: str, size: int, multiple: int = 1, settled: bool = False) -> None:
        """Refuses a size, called ``name``, that is no ``multiple`` times the number of devices.

        A size that is ``settled``, as a batch's of a stage that has begun, cannot be changed.
        """
        share = self.mesh.size * multiple
        if size % share:
            advice = f"give {-(-size // share) * share}"
            if settled:
                advice = "the stage was begun with it: run on a number of devices that divides it"
            times = f" times {multiple}" if multiple > 1 else ""
            raise VqadError(
                f"{name}: {size} is not divisible by the {self.mesh.size} devices{times}; {advice}"
            )

    def put_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Hands this process's rows of a batch to the devices; returns the global [n, ...]."""
        return {
            key: jax.make_array_from_process_local_data(self.batch, rows)
            for key, rows in batch.items()
        }

    def prefetch(
        self, batches: Iterable[Mapping[str, np.ndarray]], count: int = 2
    ) -> Iterator[dict[str, jax.Array]]:
        """Hands batches to the devices, ``count`` of them before they are asked for."""
        waiting = collections.deque()
        for batch in batches:
            waiting.append(self.put_batch(batch))
            if len(waiting) > count:
                yield waiting.popleft()
        yield from waiting

    def put(self, tree: Any, shardings: Any = None) -> Any:
        """Puts a tree of arrays, the same in all processes, where it lives: copies by default."""
        return jax.device_put(tree, self.replicated if shardings is None else shardings)
