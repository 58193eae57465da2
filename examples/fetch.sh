#!/bin/sh
# Fetches the URLs given through a fetchpool server and prints "STATUS BYTES URL" for each, in the order they finish.
# Needs curl and jq. Exit status: 0 when all succeeded, 1 when one failed, 2 when the server could not be asked.
set -eu
server=${FETCHPOOL:-http://localhost:8080}
[ $# -gt 0 ] || { echo "usage: fetch.sh URL..." >&2; exit 2; }

# call PATH JSON: prints the answer; what the server has against it goes to stderr.
call() {
	answer=$(printf %s "$2" | curl -sS --max-time 90 --fail-with-body \
		-H 'content-type: application/json' --data-binary @- "$server$1") || {
		printf %s "$answer" | jq -r '.detail // .title' >&2
		exit 2
	}
	printf %s "$answer"
}

pending='[]'
for url; do
	job=$(call /v1/jobs "$(jq -nc --arg url "$url" '{url: $url, timeout: "10s"}')")
	pending=$(printf %s "$job" | jq -c --argjson pending "$pending" '$pending + [.id]')
done

failed=0
while [ "$pending" != '[]' ]; do
	answer=$(call '/v1/wait?body=none' \
		"$(printf %s "$pending" | jq -c '{ids: .[:1000], mode: "any", timeout: "30s"}')")
	printf %s "$answer" | jq -r '.finished[] |
		"\(.response.status // .error.code // .state) \(.response.body_bytes // 0) \(.request.url)"'
	printf %s "$answer" | jq -e 'all(.finished[]; .state == "succeeded")' >/dev/null || failed=1
	pending=$(printf %s "$answer" | jq -c --argjson pending "$pending" '.pending + $pending[1000:]')
done
exit $failed
