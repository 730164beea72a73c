# calkd-edge on a CPU host: docker build -f docker/host.Dockerfile -t calkd-edge .
# torch from PyPI brings CUDA along; an index of CPU builds can be given: --build-arg PIP_ARGS="--extra-index-url ..."
FROM python:3.11.13-slim-bookworm

ARG PIP_ARGS=""
ARG EXTRAS="parquet,openvino,litert"

# hadolint ignore=DL3008  # Debian keeps only the newest version of a release
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ openssh-client \
 && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN PIP_ARGS="$PIP_ARGS" /src/docker/install.sh /opt/calkd-edge "$EXTRAS" && rm -rf /src
RUN useradd --create-home --uid 10001 calkd
USER 10001
WORKDIR /home/calkd
ENV PATH="/opt/calkd-edge/bin:$PATH"
ENTRYPOINT ["calkd-edge"]
