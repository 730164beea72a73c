# calkd-edge on a host with an NVIDIA GPU: training on CUDA, engines by TensorRT.
# docker build -f docker/host-cuda.Dockerfile -t calkd-edge-cuda . ; docker run --gpus all calkd-edge-cuda doctor
FROM nvidia/cuda:12.8.1-runtime-ubuntu24.04

ARG PIP_ARGS=""
ARG EXTRAS="parquet,tensorrt"

# hadolint ignore=DL3008  # Ubuntu keeps only the newest version of a release
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ openssh-client python3 python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN PIP_ARGS="$PIP_ARGS" /src/docker/install.sh /opt/calkd-edge "$EXTRAS" && rm -rf /src
RUN useradd --create-home --uid 10001 calkd
USER 10001
WORKDIR /home/calkd
ENV PATH="/opt/calkd-edge/bin:$PATH"
ENTRYPOINT ["calkd-edge"]
