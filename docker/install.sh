#!/bin/sh
# Install calkd-edge from a checkout into a virtual environment: docker/install.sh VENV [EXTRA,EXTRA]
# What every image of this folder does; PYTHON names the interpreter, PIP_ARGS goes to pip.
set -eu
venv=$1
extras=${2:-}
root=$(cd "$(dirname "$0")/.." && pwd)
"${PYTHON:-python3}" -m venv ${VENV_ARGS:-} "$venv"
if [ -n "$extras" ]; then what="$root[$extras]"; else what="$root"; fi
# shellcheck disable=SC2086  # several arguments
"$venv/bin/pip" install --no-cache-dir --quiet ${PIP_ARGS:-} -c "$root/constraints.txt" "$what"
"$venv/bin/calkd-edge" --help > /dev/null
