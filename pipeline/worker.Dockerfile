# A worker of the pipeline that has all it needs when it starts. Without it, every worker process
# builds and installs the source distribution, and OpenCV with it, before its first drawing.
#
#   docker build -f pipeline/worker.Dockerfile -t IMAGE .
#
# Both versions have to be those of the environment that starts the job.
ARG PYTHON_VERSION=3.11
ARG BEAM_VERSION=2.77.0

FROM apache/beam_python${PYTHON_VERSION}_sdk:${BEAM_VERSION}

WORKDIR /tmp/source
COPY setup.py pyproject.toml constraints.txt LICENSE README.md ./
COPY pipeline pipeline
COPY trainer trainer
COPY analysis analysis
# Only the base requirements, hence no TensorFlow, and only wheels, hence no compiler.
RUN pip install --no-cache-dir --only-binary=:all: \
      --constraint constraints.txt . \
    && pip check \
    && rm -r /tmp/source

# A process then uses this environment, where it would otherwise make one of its own first.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
WORKDIR /
# The entry point stays the base image's, Beam's boot.
