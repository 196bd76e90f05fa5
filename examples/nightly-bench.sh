#!/usr/bin/env bash
# A nightly bench: every target is asked the whole suite and held against the last night that went well. From cron:
#
#   0 2 * * *  cd /srv/tickets && examples/nightly-bench.sh examples/nightly-suite.yaml
#
# Ends with llmswitch's own exit code: 0 nothing got worse, or there is nothing yet to hold it against; 3 something
# did; 4 too little was answered to say; 5 the budget was used up; 2 there is something to be set right.
# Run again within twelve hours of a kill, a power cut or a used-up budget, it goes on where it was and asks nothing
# twice.
set -euo pipefail

suite=${1:-suite.yaml}
runs=${BENCH_RUNS:-runs}            # the memory of all nights: keep this folder
profile=${LLM_PROFILE:-nightly}     # keys, models, timeouts: profiles/nightly.env, or 'llmswitch init nightly'
max_cost=${BENCH_MAX_COST:-5}       # USD a night

load=(--repeats 5 --warmup 2 --concurrency 8)
gate=(--baseline last-green --fail-if 'score:-2pp' --fail-if 'p50.duration:+20%' --fail-if 'cost:+5%')

say() { echo "nightly-bench: $*" >&2; }

# The folder of this suite's newest run, nothing where there is none: ids begin with their date.
newest() {
  local found last="" path=${suite#./}
  case $path in /*) ;; *) path=$(pwd -P)/$path ;; esac
  for found in "$runs"/*/run.json; do
    if grep -qsF "\"suite_path\": \"$path\"" "$found"; then last=${found%/run.json}; fi
  done
  echo "$last"
}

# Whether that run was cut off, and not long ago.
cut_off() {
  [ -n "$1" ] && grep -q '^ "complete": false' "$1/run.json" && [ -n "$(find "$1" -maxdepth 0 -mmin -720)" ]
}

bench() {
  local last
  last=$(newest)
  if cut_off "$last"; then
    say "going on with $last"
    llmswitch bench --resume "$last" --profile "$profile" --max-cost "$max_cost"
  else
    llmswitch bench "$suite" --profile "$profile" -o "$runs" --max-cost "$max_cost" "${load[@]}" "${gate[@]}"
  fi
}

code=0
bench || code=$?
if [ "$code" -eq 137 ]; then # killed, as by a system that ran out of memory
  code=0
  bench || code=$?
fi

last=$(newest)
if [ -n "$last" ] && [ "$code" -ne 2 ]; then
  # a run that was killed may have no reports yet: they are made of what is on disk
  if [ ! -e "$last/report.md" ]; then llmswitch bench show "$last" >&2 || say "no report of $last"; fi
  # where links may point to, night after night; all of it is readable by you alone
  for file in report.html report.md junit.xml; do
    if [ -e "$last/$file" ]; then cp "$last/$file" "$runs/latest-$file"; fi
  done
  if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -e "$last/report.md" ]; then cat "$last/report.md" >>"$GITHUB_STEP_SUMMARY"; fi
fi

# Mail, chat, a ticket: whoever should know is told from here.
case $code in
  0) say "nothing got worse" ;;
  3) say "SOMETHING GOT WORSE: $runs/latest-report.md says what. Where that is meant: llmswitch bench bless last -o $runs" ;;
  4) say "too little was answered to judge: is a vendor down, a key too old? The next night has the same baseline" ;;
  5) say "$max_cost USD did not suffice: BENCH_MAX_COST=… $0 $suite goes on" ;;
  *) say "exit code $code, see above" ;;
esac

llmswitch bench prune --older-than 90d -o "$runs" --quiet >&2 || say "old runs stay"
exit "$code"
