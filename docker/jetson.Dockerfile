# A Jetson (JetPack 6) as its own device: TensorRT comes with the base image, calkd-edge's agent needs no more.
# docker build -f docker/jetson.Dockerfile -t calkd-edge-jetson .
# docker run --runtime nvidia -p 2222:2222 -v ~/.ssh/id_ed25519.pub:/opt/board/authorized_keys:ro calkd-edge-jetson
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0

# The last of numpy 1, for which JetPack 6's packages were built, and the last ONNX Runtime for its Python 3.10.
ARG NUMPY="1.26.4"
ARG ONNXRUNTIME="1.23.2"

# hadolint ignore=DL3008  # Ubuntu keeps only the newest version of a release
RUN apt-get update \
 && apt-get install -y --no-install-recommends openssh-server python3 python3-libnvinfer python3-numpy python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY docker/board.sh /tmp/board.sh
# The venv sees the system's packages: TensorRT's Python module is one of them.
RUN VENV_ARGS=--system-site-packages /tmp/board.sh /opt/board && rm /tmp/board.sh \
 && useradd --create-home --uid 10001 --shell /bin/sh board && chown -R board /opt/board
USER 10001
EXPOSE 2222
ENTRYPOINT ["/opt/board/start"]
