"""One start of the trainer: the hardware it has, and what that changes in a run that goes on."""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from trainer.config import TrainConfig
from trainer.hardware import devices
from trainer.hardware.hosts import Hosts

# What may be another than in the session before: it changes how sums round, nothing else.
_ROUNDING = ("precision", "xla", "deterministic", "hosts", "devices", "hardware", "versions")


class Session(NamedTuple):
    """What one start of the trainer works with."""

    precision: str  # one of trainer.config.PRECISIONS
    xla: bool
    devices: Sequence[str]  # of each host
    hosts: int

    @property
    def device_names(self) -> list[str]:
        """As in "GPU:0"."""
        return [device.rpartition("device:")[2] for device in self.devices]


def choose(
    config: TrainConfig,
    before: Mapping[str, Any] | None,
    replica_devices: Sequence[str],
    hosts: Hosts,
) -> Session:
    """Find out what "auto" comes to: what the run had before, or else what fits the hardware.

    Args:
      config: of the run.
      before: its last session, as config.json has it; None at its beginning.
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
    return Session(precision, is_on, replica_devices, hosts.count)


def describe(config: TrainConfig, session: Session) -> dict[str, Any]:
    """Return what config.json keeps of a session."""
    return {
        "epochs": config.epochs,
        "early_stopping": config.early_stopping,
        "precision": session.precision,
        "xla": "on" if session.xla else "off",
        "deterministic": config.deterministic,
        "hosts": session.hosts,
        "devices": session.device_names,
        "hardware": devices.hardware(),
        "versions": {
            "python": platform.python_version(),
            **{library: version(library) for library in ("tensorflow", "keras", "numpy")},
        },
    }


def changes(before: Mapping[str, Any] | None, described: Mapping[str, Any]) -> list[str]:
    """Name what is another than in the session before and changes how sums round."""
    if before is None:
        return []
    named = []
    for name in _ROUNDING:
        old, new = before.get(name), described[name]
        if isinstance(new, dict):
            old = old or {}
            pairs = [(key, old.get(key), new[key]) for key in new]
        else:
            pairs = [(name, old, new)]
        named += [
            f"{key} {_text(value)}, {_text(former)} before"
            for key, former, value in pairs
            if former != value
        ]
    return named


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
