# A stand-in board: sshd, Python, numpy and ONNX Runtime, to try `--device` on without one.
# docker build -f docker/board.Dockerfile -t calkd-edge-board .
# docker run -p 2222:2222 -v ~/.ssh/id_ed25519.pub:/opt/board/authorized_keys:ro calkd-edge-board
FROM python:3.11.13-slim-bookworm

# As in constraints.txt.
ARG NUMPY="2.4.6"
ARG ONNXRUNTIME="1.32.0"

# hadolint ignore=DL3008  # Debian keeps only the newest version of a release
RUN apt-get update \
 && apt-get install -y --no-install-recommends openssh-server \
 && rm -rf /var/lib/apt/lists/*
COPY docker/board.sh /tmp/board.sh
RUN /tmp/board.sh /opt/board && rm /tmp/board.sh \
 && useradd --create-home --uid 10001 --shell /bin/sh board && chown -R board /opt/board
USER 10001
EXPOSE 2222
ENTRYPOINT ["/opt/board/start"]
