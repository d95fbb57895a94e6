#!/bin/sh
# Runs the test layers in order, each in a pytest of its own; `make check` has run the unit tests before.
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
    code=$?
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

for layer in definitions spark integration faults; do
    run_layer "$layer" "$@"
done

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
