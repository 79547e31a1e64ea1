# shellcheck shell=bash
# What the scripts beside this folder share. Sourced, never run.

# The checkout this file belongs to.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# A machine may have cargo without a login shell that knows it (CI above all).
case ":$PATH:" in
    *":${HOME:-/root}/.cargo/bin:"*) ;;
    *) PATH="${HOME:-/root}/.cargo/bin:$PATH" ;;
esac
# Administrators' tools (ip, nginx) are not on every user's path.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH

say() { printf '%s\n' "$*"; }

# fail MESSAGE: one line that says what to do, and the end.
fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# step NAME COMMAND...: runs the command and says how long it took.
step() {
    local name=$1 began=$SECONDS status=0
    shift
    printf '\n==> %s\n' "$name"
    "$@" || status=$?
    if [ "$status" -ne 0 ]; then
        printf '==> %s FAILED (exit %d) after %d s\n' "$name" "$status" "$((SECONDS - began))" >&2
        exit "$status"
    fi
    printf '==> %s: ok, %d s\n' "$name" "$((SECONDS - began))"
}

# The Rust version that Cargo.toml asks for.
rust_wanted() { sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$root/Cargo.toml" | head -n 1; }

# Whether cargo and rustc are there and new enough.
rust_is_new_enough() {
    command -v cargo >/dev/null && command -v rustc >/dev/null || return 1
    local have wanted
    have=$(rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9.]*\).*/\1/p')
    wanted=$(rust_wanted)
    [ -n "$have" ] || return 1
    [ "$(printf '%s\n%s\n' "${wanted:-0}" "$have" | sort -V | head -n 1)" = "${wanted:-0}" ]
}
