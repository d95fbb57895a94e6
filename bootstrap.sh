#!/bin/sh
# Makes the virtual environment $1 from the hashed lock. Called by `make setup`; safe to repeat and to interrupt.
set -eu
venv=$1

python=
for candidate in python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "Lockgate needs Python 3.11, 3.12 or 3.13 in PATH, and found none: install one, then run make again." >&2
    exit 1
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    echo "$python lacks the venv module: install it (Debian: apt install python3-venv), then run make again." >&2
    exit 1
fi

if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    echo "making $venv with $("$python" --version)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
# A mirror that pip knows serves uv too.
if [ -z "${UV_DEFAULT_INDEX:-}" ]; then
    index=$("$venv/bin/python" -m pip config get global.index-url 2>/dev/null || true)
    index=${PIP_INDEX_URL:-$index}
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
fi
# The machine's own certificate authorities, as pip and the browser trust them; uv brings others along.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock
echo "installing the locked packages (about 2.3 GB on disk; a minute or two the first time)"
"$venv/bin/uv" pip sync --compile-bytecode --python "$venv/bin/python" --require-hashes --no-build-isolation requirements.lock
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation -e .
