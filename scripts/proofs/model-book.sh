# The published values of the model book: each of docs/model-book.tsv has its test, and the test passes. What has
# none is missing, and that fails. Sourced by prove.

# Tests of a crate that pass, a name a line.
passing() {
    cargo test --locked -p "$1" --lib 2>"$work/$1.err" | sed -n 's/^test \(.*\) \.\.\. ok$/\1/p'
}

# has CRATE TEST: yes where it has passed.
has() { grep -qxF "$2" "$work/passing.$1" 2>/dev/null && echo yes || echo no; }

prove_model_book() {
    local item what crate test missing=0 values=0
    for crate in $(cut -f 3 docs/model-book.tsv | grep '^kimera' | sort -u); do
        passing "$crate" >"$work/passing.$crate"
        [ -s "$work/passing.$crate" ] || tail -n 20 "$work/$crate.err" >&2
    done
    while IFS=$'\t' read -r item what crate test; do
        [ "$item" != item ] || continue
        values=$((values + 1))
        if [ "$test" = - ]; then
            missing=$((missing + 1))
            say "missing: $item $what"
        else
            case_is "$item $what" yes "$(has "$crate" "$test")"
        fi
    done <docs/model-book.tsv
    case_over "values in the list" "$values" 40
    case_is "values without a test" 0 "$missing"
    case_is "control: a test that is not there has not passed" no "$(has kimera-cep detectors::none::tests::published_values)"
}
