# Create a virtual environment from a hashed requirements file; sourced by ./run and ./test.
# Inputs: $1 directory of the environment, $2 requirements file. $PYTHON can name the interpreter.
setup() {
  py="${PYTHON:-python3}"
  "$py" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is required; $py is $("$py" --version). Set PYTHON to another." >&2
    exit 2
  }
  if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then
    uv=uv
  else
    [ -x .uv/bin/uv ] || "$py" -m pip install --quiet --disable-pip-version-check --target .uv uv
    uv="$PWD/.uv/bin/uv"
  fi
  # Links do not work if the cache is on another file system.
  export UV_LINK_MODE="${UV_LINK_MODE:-copy}"
  [ -x "$1/bin/python" ] || "$uv" venv --quiet --no-python-downloads --python "$py" "$1"
  "$uv" pip sync --quiet --compile-bytecode --python "$1/bin/python" --require-hashes "$2"
  # Without isolation, so that the build backend is the pinned one.
  "$uv" pip install --quiet --python "$1/bin/python" --no-deps --no-build-isolation --editable .
}
