#!/usr/bin/env bash
# The job service by curl: submit, follow, download; then cancel another job in its two steps.
#
#   meshwright serve                              # in another terminal
#   examples/service.sh [OUT]                     # results go to OUT, by default out/service
#
# MESHWRIGHT_URL      where the service runs (http://127.0.0.1:8000)
# MESHWRIGHT_API_KEY  made by `meshwright keys create`; not needed where the service listens on loopback only
# MODEL, QUALITY      what to ask for: both, draft. `both` runs reconviagen, then nvdiffrec.
set -euo pipefail

url=${MESHWRIGHT_URL:-http://127.0.0.1:8000}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
views=$here/six_views
out=${1:-out/service}
model=${MODEL:-both}
quality=${QUALITY:-draft}

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

# call ARGUMENT...: curl with the key. It shows what the service says, and fails where the service refuses.
# The key goes through a file descriptor: on the command line others could read it.
call() {
    curl --silent --show-error --fail-with-body --config <(
        if [ -n "${MESHWRIGHT_API_KEY:-}" ]; then
            printf 'header = "Authorization: Bearer %s"\n' "$MESHWRIGHT_API_KEY"
        fi
    ) "$@"
}

# field NAME: the first member of that name in the JSON on standard input, as text. (A program would use a parser.)
field() {
    { grep -o "\"$1\": *\(\"[^\"]*\"\|[^,}]*\)" || true; } | sed -n '1{s/^[^:]*: *//; s/^"//; s/"$//; p;}'
}

# submit: six views and six depth renders; prints the job's id.
submit() {
    local form=() name
    for name in front back left right top bottom; do
        form+=(--form "views=@$views/views/$name.png;type=image/png")
        form+=(--form "depth_renders=@$views/depth/$name.png;type=image/png")
    done
    # The key makes it safe to send the same again when the answer was lost.
    call "${form[@]}" --form "model_type=$model" --form "quality=$quality" \
        --header "Idempotency-Key: example-$$-$RANDOM$RANDOM" \
        --retry 5 --retry-connrefused "$url/api/jobs" | field job_id
}

status() { call "$url/api/jobs/$1" | field status; }

# follow ID: server-sent events until the job has ended; when the connection breaks, from the last one that was seen.
follow() {
    local last="" line ended="" tries=0
    while [ -z "$ended" ] && [ $tries -lt 100 ]; do
        tries=$((tries + 1))
        while IFS= read -r line; do
            line=${line%$'\r'}
            case $line in
            "id:"*) last=${line#id:}; last=${last# } ;;
            "data:"*)
                printf '    %5s %%  %-12s %s\n' "$(field progress <<<"$line")" "$(field status <<<"$line")" \
                    "$(field step <<<"$line")"
                case $(field status <<<"$line") in completed | failed | cancelled) ended=yes ;; esac
                ;;
            esac
        done < <(call --no-buffer --header "Accept: text/event-stream" ${last:+--header "Last-Event-ID: $last"} \
            "$url/api/jobs/$1/events" || true)
        [ -n "$ended" ] || sleep 1
    done
}

say "is the service there?"
call "$url/health/live"; echo

say "submitting $views as $model, $quality"
job=$(submit)
echo "    job $job"

say "following it"
follow "$job"
if [ "$(status "$job")" != completed ]; then
    call "$url/api/jobs/$job"; echo
    exit 1
fi

say "downloading (a download that breaks goes on where it stopped)"
mkdir -p "$out"
rm -f "$out/$job.zip"
call --continue-at - --retry 5 --output "$out/$job.zip" "$url/api/jobs/$job/download"
case $model in both) files="reconviagen nvdiffrec" ;; *) files=$model ;; esac
say "one file of each model: how good its result is"
for one in $files; do
    printf '    %-12s %s\n' "$one" "$(call "$url/api/jobs/$job/files/$one/quality.json" | field status)"
done

say "submitting another one, to cancel it"
other=$(submit)
echo "    job $other"
confirm() {
    call --header "Content-Type: application/json" --data "{\"confirm\": $1}" "$url/api/jobs/$other/cancel"; echo
}
say "first step: cancel_requested"
confirm false
say "second step: cancelled"
confirm true
for _ in $(seq 50); do
    [ "$(status "$other")" = cancelled ] && break
    sleep 0.1
done
[ "$(status "$other")" = cancelled ]
say "its files are gone: the download is refused"
if call --output /dev/null "$url/api/jobs/$other/download" 2>/dev/null; then exit 1; fi

say "done: $out/$job.zip"
