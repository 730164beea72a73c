#!/bin/sh
# Make a stand-in board in a folder: docker/board.sh FOLDER. A Python with numpy and ONNX Runtime, and an sshd that
# lets in the keys of FOLDER/authorized_keys and nobody else. Start it with FOLDER/start; it listens on PORT (2222).
# NUMPY and ONNXRUNTIME are versions; left out, the newest that PYTHON can have.
set -eu
folder=$1
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
"${PYTHON:-python3}" -m venv ${VENV_ARGS:-} "$folder/python"
"$folder/python/bin/pip" install --no-cache-dir --quiet \
  "numpy${NUMPY:+==$NUMPY}" "onnxruntime${ONNXRUNTIME:+==$ONNXRUNTIME}"
touch "$folder/authorized_keys"
chmod 600 "$folder/authorized_keys"
cat > "$folder/sshd_config" <<EOF
Port ${PORT:-2222}
HostKey $folder/host_key
PidFile none
AuthorizedKeysFile $folder/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv PATH=$folder/python/bin:/usr/local/bin:/usr/bin:/bin
Subsystem sftp internal-sftp
EOF
cat > "$folder/start" <<EOF
#!/bin/sh
# Host keys are made when it first starts, so that no two boards share one.
set -eu
[ -f "$folder/host_key" ] || ssh-keygen -q -t ed25519 -N '' -f "$folder/host_key"
if [ "\$(id -u)" = 0 ]; then mkdir -p /run/sshd; fi
exec "\$(PATH="\$PATH:/usr/sbin:/usr/local/sbin" command -v sshd)" -D -e -f "$folder/sshd_config" "\$@"
EOF
chmod 755 "$folder/start"
