"""TF_CONFIG: the addresses of the hosts that train together. No TensorFlow here."""

import json
import os

from pipeline.cli import UserError

VARIABLE = "TF_CONFIG"
_JOBS = ("chief", "worker")  # in TensorFlow's own order


def read_cluster() -> tuple[list[str], int]:
    """Return the addresses of all hosts, the first one first, and the index of this one.

    Without TF_CONFIG, or a cluster in it, there are no addresses: this host is alone.

    Raises:
      UserError: TF_CONFIG is invalid, or has hosts of another kind.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return [], 0
    try:
        config = json.loads(text)
        cluster = {job: list(hosts) for job, hosts in config.get("cluster", {}).items()}
        if not cluster:
            return [], 0
        job, index = config["task"]["type"], int(config["task"]["index"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f'{VARIABLE}: not of the form {{"cluster": {{"worker": ["HOST:PORT", …]}}, '
            '"task": {"type": "worker", "index": 0}}'
        ) from None
    if others := sorted(set(cluster) - set(_JOBS)):
        raise UserError(f"{VARIABLE}: hosts here are {' or '.join(_JOBS)}, not {others[0]}")
    if job not in cluster or not 0 <= index < len(cluster[job]):
        raise UserError(f"{VARIABLE}: the cluster has no {job} {index}, which this task is")
    before = len(cluster.get("chief", [])) if job == "worker" else 0
    return [host for each in _JOBS for host in cluster.get(each, [])], before + index
