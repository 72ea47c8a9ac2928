# The machine's settings: written, put back, refused; what doctor says is what its schema says. Sourced by prove.

# Every setting that the program knows, with what holds.
dump_settings() {
    "$program" tune show --json | grep -o '"setting":"/[^"]*"' | cut -d'"' -f4 | while read -r path; do
        [ -r "$path" ] && printf '%s=%s\n' "$path" "$(cat "$path")"
    done
}

# A Python with packages that read what we write: by other hands than ours.
python_with() {
    local home="$root/target/python"
    if [ ! -x "$home/bin/python" ] && ! python3 -m venv "$home" >"$work/venv.txt" 2>&1; then
        apt-get install -y -qq python3-venv >>"$work/venv.txt" 2>&1 && python3 -m venv "$home" >>"$work/venv.txt" 2>&1
    fi
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >>"$work/venv.txt" 2>&1
    python="$home/bin/python"
}

prove_tuning() {
    "$program" tune restore >"$work/first.txt" 2>&1
    dump_settings >"$work/before.txt"
    case_over "settings that this machine has" "$(wc -l <"$work/before.txt")" 5
    scripts/launch --dry-run >"$work/dry.txt" 2>&1
    case_is "a dry run ends well" 0 $?
    dump_settings >"$work/after-dry.txt"
    case_is "and changes nothing" "" "$(diff "$work/before.txt" "$work/after-dry.txt")"
    if [ "$(id -u)" = 0 ]; then
        case_over "it names each write" "$(grep -c '^would ' "$work/dry.txt")" 3
        run tuned --tune --for 20s --speed 10 &
        local seen=0
        while kill -0 $! 2>/dev/null; do
            dump_settings | diff -q "$work/before.txt" - >/dev/null || seen=$((seen + 1))
            sleep 0.3
        done
        wait $!
        case_is "a run that tunes ends well" 0 $?
        case_is "its rings lay in huge pages that were kept for them" true "$(first_field "$work/tuned.json" huge_pages_kept)"
        case_over "while it runs other values hold" "$seen" 1
        dump_settings >"$work/after-run.txt"
        case_is "afterwards everything is as it was" "" "$(diff "$work/before.txt" "$work/after-run.txt")"
        # Killed outright: nobody is left to put anything back.
        run killed --tune --for 300s --speed 10 &
        local job=$!
        sleep 3
        pkill -9 -f "supervise --state $work/killed"
        wait $job 2>/dev/null
        pkill -9 -f -- "--state $work/killed"
        pkill -9 -f -- "$work/killed/"
        dump_settings >"$work/after-kill.txt"
        case_is "control: a run that was killed leaves them, and that is seen" differs \
            "$(diff -q "$work/before.txt" "$work/after-kill.txt" >/dev/null && echo equal || echo differs)"
        scripts/launch --restore >"$work/restore.txt" 2>&1
        case_is "launch --restore ends well" 0 $?
        dump_settings >"$work/after-restore.txt"
        case_is "and everything is as it was" "" "$(diff "$work/before.txt" "$work/after-restore.txt")"
    fi
    if [ "$(id -u)" = 0 ] && command -v runuser >/dev/null 2>&1 && id nobody >/dev/null 2>&1; then
        install -d -o nobody "$work/nobody"
        chmod 711 "$work"
        cp -r "$program" config data "$work/nobody/"
        chmod -R a+rX "$work/nobody"
        (cd "$work/nobody" && HOME="$work/nobody" runuser -u nobody -- ./kimera supervise --tune --state "$work/nobody/run" --for 10s --speed 20 --json) \
            >"$work/nobody.json" 2>"$work/nobody.err"
        case_is "a user without rights runs it too" 0 $?
        case_over "what is refused is named" "$(grep -o 'tuning: .* [0-9]* refused (.*' "$work/nobody.err" | grep -o '[0-9]* refused' | cut -d' ' -f1)" 3
        dump_settings >"$work/after-nobody.txt"
        case_is "and everything is as it was" "" "$(diff "$work/before.txt" "$work/after-nobody.txt")"
    fi
    "$program" doctor >"$work/doctor.txt" 2>&1
    local code=$?
    case_is "doctor ends with 0 or 6" yes "$([ $code = 0 ] || [ $code = 6 ] && echo yes || echo "$code")"
    "$program" doctor --json >"$work/doctor.json" 2>"$work/doctor.err"
    case_is "with --json too" "$code" $?
    case_is "every fact that is not as it should be has a fix" 0 "$(grep -o '"verdict":"\(WARN\|FAIL\)","found":"[^"]*","wanted":"[^"]*","fix":""' "$work/doctor.json" | wc -l)"
    python_with jsonschema
    valid() { "$python" -c 'import json,sys,jsonschema; jsonschema.Draft202012Validator(json.load(open(sys.argv[1]))).validate(json.load(open(sys.argv[2])))' docs/schema/doctor.json "$1" >>"$work/schema.txt" 2>&1; }
    valid "$work/doctor.json"
    case_is "it is valid against docs/schema/doctor.json" 0 $?
    sed 's/"verdict":"PASS"/"verdict":"MAYBE"/' "$work/doctor.json" >"$work/maybe.json"
    valid "$work/maybe.json"
    case_is "control: a verdict that is none is not" 1 $?
    if command -v systemd-analyze >/dev/null 2>&1; then
        sed "s|/opt/kimera/bin/kimera|$program|; s|^WorkingDirectory=.*|WorkingDirectory=$root|; s|^Documentation=.*||" packaging/kimera.service >"$work/kimera.service"
        systemd-analyze verify "$work/kimera.service" >"$work/unit.txt" 2>&1
        case_is "the service manager understands the unit" "" "$(grep -i 'kimera.service' "$work/unit.txt")"
        sed 's/^Type=notify/Typ=notify/' "$work/kimera.service" >"$work/wrong.service"
        systemd-analyze verify "$work/wrong.service" >"$work/wrong.txt" 2>&1
        case_over "control: and names a key that is none" "$(grep -c 'Typ' "$work/wrong.txt")" 0
    fi
    [ $failed = 0 ] || tail -n 5 "$work"/*.err "$work/schema.txt" "$work/venv.txt" >&2
}
