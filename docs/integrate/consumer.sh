#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
# A consumer of gridwatch's case messages in plain redis-cli: takes messages one by one, acts on each once, answers it.
# Needs bash, redis-cli (6.2 or later; valkey-cli will do) and sha256sum. It is an example: read it, then change act().
#
#   ./consumer.sh                                               # Redis on this machine, until Ctrl-C
#   REDIS_ARGS='-h redis.example -p 6379 --user case-system' REDISCLI_AUTH=password ./consumer.sh
#   ./consumer.sh say INCIDENT handled 现场已清理                # a step of a case, by hand
#   ONCE=1 ./consumer.sh                                        # what is there now, then end
#
# The numbers are those of README.md beside it.
set -euo pipefail
read -ra args <<<"${REDIS_ARGS:-}"  # whatever redis-cli takes: -h, -p, -s, --user, --tls, --cacert …
redis=("${REDIS_CLI:-redis-cli}" "${args[@]}" --no-auth-warning --raw)
state=${STATE:-cases} group=case-system-sh consumer=consumer-1 source=urn:case-system:shell
mkdir -p "$state"/{seen,revision,answers,from}

# What a message means to your system. $1 incident, $2 what happened (opened, confirmed …), $3 the report in JSON.
act() {
  case $2 in
    confirmed) printf '%s 立案 %s\n' "SH-$1" "$3"; answer "$1" accepted ;;
    dismissed | voided) printf '%s 作废\n' "SH-$1"; answer "$1" voided ;;
    *) printf '%s %s\n' "SH-$1" "$2" ;;
  esac
}

# answer INCIDENT WORD [NAME VALUE]…: number a reply and send it (6). Values must not hold quotes or backslashes.
answer() {
  local incident=$1 word=$2 at number sent extra=''
  shift 2
  while [ $# -ge 2 ]; do extra+=",\"$1\":\"$2\"" && shift 2; done
  at=$(date +%Y-%m-%dT%H:%M:%S.%3N%:z)
  number=$(($(cat "$state/answers/$incident" 2>/dev/null || echo 0) + 1))
  sent=$("${redis[@]}" XADD gridwatch:case-replies '*' specversion 1.0 id "SH-$incident:$number" source "$source" \
    type "cn.gridwatch.case.$word.v1" subject "$incident" destination "$(cat "$state/from/$incident")" time "$at" datacontenttype application/json \
    data "{\"incident_id\":\"$incident\",\"case_id\":\"SH-$incident\",\"case_revision\":$number,\"at\":\"$at\"$extra}")
  [[ $sent =~ ^[0-9]+-[0-9]+$ ]] || { echo "not sent 未发送: $sent" >&2 && exit 1; }  # not acknowledged: it comes again
  echo "$number" >"$state/answers/$incident.new" && mv "$state/answers/$incident.new" "$state/answers/$incident"
}

# One entry, as redis-cli prints it: a line for each name and each value. JSON has no line breaks, so a value is a line.
take() {
  local -A field=()
  while [ $# -ge 2 ]; do
    if [ -n "$1" ]; then field[$1]=$2; fi
    shift 2
  done
  [[ ${field[type]:-} =~ ^cn\.gridwatch\.incident\.([a-z]+)\.v1$ ]] || return 0  # 1. written by others
  local what=${BASH_REMATCH[1]} incident=${field[subject]:-} id=${field[id]:-} previous=${field[previous]:-} hash seen revision known
  if ! [[ $id =~ ^[A-Za-z0-9-]+:[0-9]+$ && $id == "$incident":* && $previous =~ ^[0-9]+$ && ${field[data]:-} == "{"* && ${field[source]:-} == urn:* ]]; then
    echo "cannot be read 无法读取: $id" >&2
    return 0  # 8.
  fi
  echo "${field[source]}" >"$state/from/$incident"
  hash=$(printf '%s' "${field[data]}" | sha256sum | cut -d' ' -f1)
  revision=${id##*:} known=$(cat "$state/revision/$incident" 2>/dev/null || echo 0)
  seen=$(cat "$state/seen/$id" 2>/dev/null || true)
  if [ -n "$seen" ] && [ "$seen" != "$hash" ]; then answer "$incident" reported answers "$id" outcome conflict; return; fi  # 3.
  if [ "$revision" -le "$known" ]; then answer "$incident" reported answers "$id" outcome duplicate; return; fi  # 2.
  [ "$previous" -le "$known" ] || echo "revision $previous of $incident has not come 缺少修订" >&2  # 4.
  answer "$incident" reported answers "$id" outcome stored
  if [[ ${field[data]} == *'"run_mode":"actual"'* ]]; then act "$incident" "$what" "${field[data]}"; fi  # 5.
  echo "$hash" >"$state/seen/$id"
  echo "$revision" >"$state/revision/$incident"
}

if [ "${1:-}" = say ]; then
  if [ ! -e "$state/from/$2" ]; then echo "no incident $2 came here yet" >&2 && exit 1; fi
  answer "$2" "$3" note "${4:-}"
  exit
fi
"${redis[@]}" XGROUP CREATE gridwatch:cases $group 0 MKSTREAM >/dev/null 2>&1 || true  # it may be there already
from=0  # 7. first what was read and not acknowledged, then what is new
while true; do
  if [ $from = 0 ]; then block=(); elif [ -n "${ONCE:-}" ]; then block=(BLOCK 100); else block=(BLOCK 5000); fi
  text=$("${redis[@]}" XREADGROUP GROUP $group $consumer COUNT 1 "${block[@]}" STREAMS gridwatch:cases $from) || text=failed
  mapfile -t line <<<"$text"
  if [ "${line[0]}" = gridwatch:cases ] && [ -n "${line[1]:-}" ]; then
    take "${line[@]:2}"
    "${redis[@]}" XACK gridwatch:cases $group "${line[1]}" >/dev/null
    continue
  fi
  if [ -n "$text" ] && [ "$text" != gridwatch:cases ]; then
    echo "not connected 未连接: $text" >&2
    if [ -n "${ONCE:-}" ]; then exit 1; fi
    sleep 5
    continue
  fi
  if [ $from = 0 ]; then from='>'; elif [ -n "${ONCE:-}" ]; then exit; fi
done
