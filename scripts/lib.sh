# Shared by the scripts: messages, the toolchain, the project's root. Source it, do not run it.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1

say() { printf '%s\n' "$*" >&2; }
die() { local code=$1; shift; say "$(basename "$0"): $*"; exit "$code"; }

need_cargo() {
    command -v cargo >/dev/null 2>&1 || die 1 "cargo is not installed; get Rust from https://rustup.rs and try again"
}

# Where builds go, and what scripts/profile has counted.
target=${CARGO_TARGET_DIR:-target}
case "$target" in /*) ;; *) target="$root/$target" ;; esac
profile="$target/profile"

# One more flag for the compiler, whatever is in its path.
with_flag() {
    local flags=${CARGO_ENCODED_RUSTFLAGS:-$(printf %s "${RUSTFLAGS:-}" | tr -s ' ' '\037')}
    case "$flags" in *"$1"*) return 0 ;; esac
    export CARGO_ENCODED_RUSTFLAGS="${flags:+$flags$(printf '\037')}$1"
}

# Has builds laid out by how the program runs, where that was counted with this very compiler: another one names its
# functions otherwise.
use_profile() {
    [ -f "$profile/kimera.profdata" ] || return 0
    if [ "$(rustc -vV)" != "$(cat "$profile/rustc.txt" 2>/dev/null)" ]; then
        say "degraded: $profile was made with another compiler and is not used; scripts/profile makes it anew"
        return 0
    fi
    with_flag "-Cprofile-use=$profile/kimera.profdata"
}

# Builds the program if anything changed. Where the build folder is not ours to write, a program that is already
# there is used as it is, and that is said.
build_program() {
    program="$target/release/kimera"
    if { [ -e "$target" ] && [ ! -w "$target" ]; } || { [ ! -e "$target" ] && [ ! -w "$(dirname "$target")" ]; }; then
        [ -x "$program" ] || die 1 "$root is not writable and nothing is built yet; build once as its owner: cargo build --release"
        say "degraded: $target is not writable here, using the program that is there"
        return
    fi
    need_cargo
    use_profile
    cargo build --release --locked --quiet || die 1 "the build failed (cargo build --release)"
}
