# Shared by the scripts: messages, the toolchain, the project's root. Source it, do not run it.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1

say() { printf '%s\n' "$*" >&2; }
die() { local code=$1; shift; say "$(basename "$0"): $*"; exit "$code"; }

need_cargo() {
    command -v cargo >/dev/null 2>&1 || die 1 "cargo is not installed; get Rust from https://rustup.rs and try again"
}

# Builds the program if anything changed. Where the build folder is not ours to write, a program that is already
# there is used as it is, and that is said.
build_program() {
    program="$root/${CARGO_TARGET_DIR:-target}/release/kimera"
    if { [ -e target ] && [ ! -w target ]; } || { [ ! -e target ] && [ ! -w . ]; }; then
        [ -x "$program" ] || die 1 "$root is not writable and nothing is built yet; build once as its owner: cargo build --release"
        say "degraded: $root/target is not writable here, using the program that is there"
        return
    fi
    need_cargo
    cargo build --release --locked --quiet || die 1 "the build failed (cargo build --release)"
}
