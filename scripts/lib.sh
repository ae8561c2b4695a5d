# What the scripts of this folder share; sourced, not run. Needs bash.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '==> %s\n' "$*" >&2; }

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# Where downloads are kept. HOME may be unset, for instance in CI.
cache_dir() {
  if [ -n "${XDG_CACHE_HOME:-}" ]; then
    echo "$XDG_CACHE_HOME/bhyve-linux"
  elif [ -n "${HOME:-}" ]; then
    echo "$HOME/.cache/bhyve-linux"
  else
    echo "$repo/.cache/bhyve-linux"
  fi
}

# Runs a command as root: directly, or by sudo where there is one.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "this needs root, and there is no sudo; as root, run: $*"
  fi
}

# Lets cmake use ccache where it is installed.
use_ccache() {
  if command -v ccache >/dev/null; then
    export CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
  fi
}
