#!/bin/sh
# Runs the test layers in order, each in a pytest of its own (integration: two, side by side); `make check` has run the unit
# tests before.
# Exit code: 0 if every layer passed, else that of the first that did not. Arguments go to pytest.
set -u
cd "$(dirname "$0")/.." || exit 1
pytest=${PYTEST:-.venv/bin/pytest}
first_failure=0
summary=""

note() { summary="$summary
  $1"; }

has_chromium() {
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$name" >/dev/null 2>&1; then return 0; fi
    done
    return 1
}

# In CI nothing may be left out: the browser comes from Debian. Elsewhere nobody's machine is changed.
ensure_chromium() {
    if has_chromium; then return 0; fi
    if [ "${CI:-}" != true ]; then return 1; fi
    echo "installing chromium (CI=true)"
    as_root=""
    if [ "$(id -u)" != 0 ]; then as_root=sudo; fi
    $as_root apt-get update -qq && $as_root apt-get install -y -qq chromium >/dev/null
}

run_layer() {
    layer=$1
    shift
    echo "== $layer"
    began=$(date +%s)
    "$pytest" -q "tests/$layer" "$@"
    tell $?
}

heeding_interrupts='import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])'

# The warehouse's tests have a server of their own and wait for nothing else's: beside the others, they are a third of the time.
run_integration() {
    layer=integration
    began=$(date +%s)
    beside=$(mktemp)
    # A shell has what it runs beside itself ignore Ctrl-C, but these have servers to stop.
    "${pytest%/*}/python" -c "$heeding_interrupts" "$pytest" -q tests/integration/warehouse "$@" >"$beside" 2>&1 &
    warehouse=$!
    trap 'wait $warehouse; cat "$beside"; rm -f "$beside"; exit 130' INT
    echo "== integration (its warehouse's tests are told at its end)"
    "$pytest" -q tests/integration --ignore=tests/integration/warehouse "$@"
    tell $?
    layer=integration/warehouse
    echo "== $layer"
    wait $warehouse
    code=$?
    trap - INT
    cat "$beside"
    rm -f "$beside"
    tell $code
}

# What became of `layer`, begun at `began`, from pytest's exit code.
tell() {
    code=$1
    took="$(($(date +%s) - began)) s"
    case $code in
        0) note "$layer: passed, $took" ;;
        5) note "$layer: holds no tests" ;; # pytest's code for "nothing collected"
        *)
            note "$layer: FAILED (pytest exit code $code), $took"
            if [ "$first_failure" = 0 ]; then first_failure=$code; fi
            ;;
    esac
}

run_layer definitions "$@"
run_layer spark "$@"
run_integration "$@"
run_layer faults "$@"

if ensure_chromium; then
    run_layer browser "$@"
elif [ "${CI:-}" = true ]; then
    note "browser: FAILED, chromium could not be installed"
    if [ "$first_failure" = 0 ]; then first_failure=1; fi
else
    note "browser: LEFT OUT, no chromium in PATH (Debian: apt install chromium; with CI=true it is installed by itself)"
fi

echo "Layers:$summary"
exit "$first_failure"
