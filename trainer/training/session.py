"""One start of the trainer: its hardware, and what differs from the run's session before."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from trainer.config import TrainConfig
from trainer.hardware import devices
from trainer.hardware.hosts import Hosts

# What may differ from the session before: it changes how sums round, nothing else.
_ROUNDING = ("precision", "xla", "deterministic", "hosts", "devices", "hardware", "versions")


class Session(NamedTuple):
    """One start of the trainer."""

    precision: str  # one of trainer.config.PRECISIONS
    xla: bool
    devices: Sequence[str]  # of each host
    hosts: int

    @classmethod
    def choose(
        cls,
        config: TrainConfig,
        before: Mapping[str, Any] | None,
        replica_devices: Sequence[str],
        hosts: Hosts,
    ) -> "Session":
        """Resolve "auto": to what the run had before, or else to what fits the hardware.

        Args:
          config: of the run.
          before: its last session in config.json; None at its beginning.
          replica_devices: of this host.
          hosts: that train together.

        Raises:
          UserError: XLA is asked for on several replicas, or with --deterministic.
        """
        precision, xla = config.precision, config.xla
        if precision == "auto":  # which may differ between machines
            found = before["precision"] if before else devices.choose_precision()
            precision = hosts.from_first(found)
        is_alone = hosts.count == len(replica_devices) == 1
        if xla == "auto" and before and is_alone and not config.deterministic:
            xla = before["xla"]
        is_on = devices.choose_xla(xla, replica_devices, hosts, config.deterministic)
        return cls(precision, is_on, replica_devices, hosts.count)

    @property
    def device_names(self) -> list[str]:
        """Return names such as GPU:0."""
        return [device.rpartition("device:")[2] for device in self.devices]

    def describe(self, config: TrainConfig) -> dict[str, Any]:
        """Return what config.json keeps of the session."""
        return {
            "epochs": config.epochs,
            "early_stopping": config.early_stopping,
            "precision": self.precision,
            "xla": "on" if self.xla else "off",
            "deterministic": config.deterministic,
            "hosts": self.hosts,
            "devices": self.device_names,
            "hardware": devices.hardware(),
            "versions": {
                "python": platform.python_version(),
                **{library: version(library) for library in ("tensorflow", "keras", "numpy")},
            },
        }


def changes(before: Mapping[str, Any] | None, description: Mapping[str, Any]) -> list[str]:
    """List what differs from the session before and changes how sums round."""
    if before is None:
        return []
    there, here = _flatten(before), _flatten(description)
    return [
        f"{name} {_text(value)}, {_text(there.get(name))} before"
        for name, value in here.items()
        if there.get(name) != value
    ]


def _flatten(session: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: session.get(name) for name in _ROUNDING}
    return flat | (flat.pop("versions") or {})


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
