"""A worker as an engine starts it for `--environment_type=PROCESS`.

  worker.py --id=1-1 --provision_endpoint=localhost:40001

An engine of several machines starts workers on each of them. With a worker pool (EXTERNAL) two
machines' part cannot be played by one: each calls its worker 1-1, and a pool ends workers by name.
"""

import argparse
import json
import pathlib

import grpc
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
from apache_beam.runners.worker.sdk_worker import SdkHarness
from apache_beam.runners.worker.worker_id_interceptor import WorkerIdInterceptor


def worker_flags(directory: pathlib.Path, python: pathlib.Path) -> list[str]:
    """Flags with which engines start workers with the interpreter `python`.

    The command that they start, and what workers print, are files in `directory`.
    """
    command = directory / "worker"
    command.write_text(f'#!/bin/sh\nexec "{python}" "{__file__}" "$@" >>"$0.log" 2>&1\n')
    command.chmod(0o755)
    config = json.dumps({"command": str(command)})
    return ["--environment_type=PROCESS", f"--environment_config={config}"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--id")
    parser.add_argument("--provision_endpoint")
    flags, _ = parser.parse_known_args()
    with grpc.insecure_channel(flags.provision_endpoint) as channel:
        named = grpc.intercept_channel(channel, WorkerIdInterceptor(flags.id))
        service = beam_provision_api_pb2_grpc.ProvisionServiceStub(named)
        request = beam_provision_api_pb2.GetProvisionInfoRequest()
        info = service.GetProvisionInfo(request).info
    SdkHarness(info.control_endpoint.url, worker_id=flags.id).run()


if __name__ == "__main__":
    main()
