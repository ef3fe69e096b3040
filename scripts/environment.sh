# Sourced by scripts/demo and scripts/test: finds a Python, makes .venv, installs meshwright into it.
# Needs nothing but Python 3.11 or newer and git. Sets `root` (the repository) and puts .venv first on PATH.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
stop() { printf 'error: %s\n' "$*" >&2; exit 1; }

# apt_install WHY PACKAGE...: on Debian and Ubuntu, as root; otherwise says what to install and stops.
apt_install() {
    local why=$1; shift
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $* ($why)"
        # RUNLEVEL=1: servers are installed and not started; tests start their own.
        apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 && return
    fi
    stop "$why. Install it, for example with: sudo apt-get install $*"
}

is_recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# The Python to build on: $PYTHON if set, else the first that is 3.11 or newer.
find_python() {
    local name
    for name in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14 python; do
        if is_recent "$name"; then command -v "$name"; return; fi
    done
    return 1
}

make_venv() {
    local python
    if ! python=$(find_python); then
        apt_install "Python 3.11 or newer was not found" python3 python3-venv
        python=$(find_python) ||
            stop "this system's python3 is older than 3.11. Install a newer one and name it: PYTHON=/path/to/python3.11 $0"
    fi
    say "making a virtual environment in .venv with $("$python" --version)"
    rm -rf "$venv"
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        # Debian keeps ensurepip in a package of its own, named after the version.
        apt_install "this Python has no venv module" \
            "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    fi
    "$python" -m venv "$venv" || stop "no virtual environment could be made in $venv"
    printf '%s\n' "$root" > "$venv/.made-in"
}

# A virtual environment works only where it was made.
venv_works() {
    [ "$(cat "$venv/.made-in" 2>/dev/null)" = "$root" ] && is_recent "$venv/bin/python" &&
        "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

# set_up [EXTRA]: brings .venv in line with pyproject.toml and constraints.txt; quick when nothing has changed. Without
# EXTRA it gets what README's install command installs: meshwright and its job service.
set_up() {
    local extra=${1:-service} stamp wanted
    if ! venv_works; then make_venv; fi
    export PATH=$venv/bin:$PATH VIRTUAL_ENV=$venv PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
    unset PYTHONHOME PYTHONPATH
    stamp=$venv/.meshwright-$extra
    wanted=$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum; python --version)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
    say "installing meshwright with its $extra packages (the first time takes a few minutes)"
    # torch first and alone: its exact version decides what everything after it may pull in.
    { python -m pip install -q -c "$root/constraints.txt" torch==2.13.0 &&
        python -m pip install -q -c "$root/constraints.txt" setuptools &&
        python -m pip install -q -c "$root/constraints.txt" --no-build-isolation -e "$root[$extra]"; } ||
        stop "the packages could not be installed; pip's message is above"
    printf '%s\n' "$wanted" > "$stamp"
}
