# scripts/bootstrap run. Read in, not run.
# shellcheck shell=sh

run_dir=build/run
server=
origin=
tail_pid=
log=
state_dir=

# Ends whatever is still there, in order.
# shellcheck disable=SC2317 # called by a trap
end_run() {
	[ -z "$server" ] || finish "$server"
	[ -z "$origin" ] || finish "$origin" 5
	[ -z "$tail_pid" ] || kill "$tail_pid" 2>/dev/null
	rm -f "$run_dir/token" ${log:+"$log"}
	case $state_dir in
	"$run_dir"/any-*) rm -rf "$state_dir" ;;
	esac
}

# option NAME ARGUMENT...: the last value of that option among the server's, or of its variable.
option() {
	name=$1
	shift
	value=
	while [ $# -gt 0 ]; do
		case $1 in
		--"$name") value=${2-} ;;
		--"$name"=*) value=${1#*=} ;;
		esac
		shift
	done
	if [ -z "$value" ]; then
		value=$(printenv "FETCHPOOL_$(printf '%s' "$name" | tr 'a-z-' 'A-Z_')")
	fi
	printf '%s\n' "$value"
}

# ask ARGUMENT...: curl on the server, shown as one would type it: around every proxy, and with the token when the
# server wants one. The answer's head goes to $run_dir/head, its body to $run_dir/job.json.
ask() {
	printf '\n$ curl -sS'
	for word in "$@"; do
		case $word in
		*[!A-Za-z0-9_./:=-]*) printf " '%s'" "$word" ;;
		*) printf ' %s' "$word" ;;
		esac
	done
	printf '\n'
	case $address in
	unix:*) set -- --unix-socket "${address#unix:}" "$@" ;;
	esac
	[ ! -f "$run_dir/token" ] || set -- -H "@$run_dir/token" "$@"
	curl -sS --noproxy '*' --max-time 60 -D "$run_dir/head" -o "$run_dir/job.json" "$@"
}

# Decides what is fetched: example.com when this machine reaches it (the server uses no proxy, so neither does this),
# else an origin of our own on loopback.
choose_origin() {
	say "What to fetch"
	if curl -sS -o /dev/null --noproxy '*' --connect-timeout 3 --max-time 6 https://example.com/ 2>"$run_dir/curl.err"; then
		url=https://example.com/
		echo "This machine reaches $url: fetching that."
		return
	fi
	echo "https://example.com/ cannot be reached from here ($(sed -n '1s/^curl: //p' "$run_dir/curl.err"))."
	build_in build tests/origin || give_up "the test origin could not be built"
	spawn "$run_dir/origin.log" build/tests/origin 0
	origin=$spawned
	if ! await_address "$run_dir/origin.log" "$origin"; then
		cat "$run_dir/origin.log" >&2
		give_up "the test origin did not start"
	fi
	url=$address/text/200
	echo "So a small origin was started on loopback, $address, to fetch from: $url"
	echo "The server refuses loopback addresses unless told otherwise, so it gets --egress-allow 127.0.0.1/32."
}

# Sets $state_dir, unless an option or variable says where: one for each address, as one server locks it.
choose_state_dir() {
	[ -z "$(option state-dir "$@")" ] || return
	listen=$(option listen "$@")
	case $listen in
	*:0) state_dir=$run_dir/any-$$ ;;
	*) state_dir=$run_dir/$(printf '%s' "${listen:-127.0.0.1:8080}" | tr -c 'A-Za-z0-9.' '-') ;;
	esac
	mkdir -p "$state_dir"
}

# Starts the server with the options given; ends the script when it does not come up.
start_server() {
	log=$run_dir/server-$$.log
	say "Starting the server"
	printf '$ build/src/fetchpool'
	printf ' %s' "$@"
	printf '\n'
	spawn "$log" build/src/fetchpool "$@"
	server=$spawned
	if await_address "$log" "$server"; then
		cat "$log"
		return
	fi
	finish "$server"
	status=$?
	server=
	cat "$log"
	explain_taken "$log"
	# --help, --version and --check-config end it too, with 0.
	[ "$status" -ne 0 ] || exit 0
	echo "bootstrap: the server ended with status $status" >&2
	exit "$status"
}

# When the address is taken the server says so; this says how to go on.
explain_taken() {
	if grep -q -i -e 'in use' "$1"; then
		cat >&2 <<END

bootstrap: that address is taken. Choose another port, or let the system choose a free one:
    scripts/bootstrap run --listen 127.0.0.1:8081
    scripts/bootstrap run --listen 127.0.0.1:0
END
	fi
}

# last NAME FILE: the value of the last such key of an indented JSON text, bare. Enough to show a job with.
last() {
	sed -n 's/^ *"'"$1"'": *"\{0,1\}\([^",]*\).*/\1/p' "$2" | sed -n '$p'
}

# One job from submission to result.
show_fetch() {
	base=$address
	case $address in
	unix:*) base=http://localhost ;;
	esac
	say "One fetch, from submission to result"
	ask --json "{\"url\":\"$url\"}" "$base/v1/jobs" || return 1
	sed -n -e '1p' -e '/^[Ll]ocation:/p' "$run_dir/head"
	cat "$run_dir/job.json"
	id=$(sed -n 's/^[Ll]ocation: *\/v1\/jobs\/\([0-9a-f-]*\).*/\1/p' "$run_dir/head")
	if [ -z "$id" ]; then
		echo "bootstrap: the server did not take the job" >&2
		return 1
	fi
	ask "$base/v1/jobs/$id?wait=30s&pretty" || return 1
	cat "$run_dir/job.json"
	state=$(last state "$run_dir/job.json")
	if [ "$state" != succeeded ]; then
		echo "bootstrap: the fetch did not succeed: the job is '$state'" >&2
		return 1
	fi
	printf '\nFetched: %s answered %s with %s bytes.\n' "$url" "$(last status "$run_dir/job.json")" \
		"$(last body_bytes "$run_dir/job.json")"
}

show_more() {
	say "Go on with"
	via=
	case $address in
	unix:*) via="--unix-socket ${address#unix:} " ;;
	esac
	[ ! -f "$run_dir/token" ] || via="$via-H \"Authorization: Bearer \$TOKEN\" "
	cat <<END
curl -sS $via--json '{"url":"$url"}' '$base/v1/jobs?wait=10s&pretty'     # submit and await in one call
curl -sS $via'$base/v1/jobs/$id?pretty'     # the job of above
curl -sS $via'$base/v1/jobs/$id/body'     # what it fetched
curl -sS $via'$base/v1/jobs?limit=10&pretty'     # the newest jobs
curl -sS $via--json '{"url":"$url","delay":"1h"}' '$base/v1/jobs'     # one for later
curl -sS $via--json '{"state":"queued"}' '$base/v1/jobs/cancel'     # and away with it
END
	say "The server runs at $address, process $server; Ctrl-C ends it. What it says from here on:"
}

# Waits for the server; Ctrl-C and SIGTERM are handed on to it as SIGTERM, a second one makes it stop at once.
stay() {
	trap 'signalled=yes; kill -TERM "$server"' HUP INT TERM
	status=127
	while :; do
		signalled=
		wait "$server"
		now=$?
		[ "$now" -eq 127 ] || status=$now
		if [ -z "$signalled" ] || [ "$now" -eq 127 ]; then
			break
		fi
	done
	server=
	trap '' HUP INT TERM
	exit "$status"
}

bootstrap_run() {
	install_needed
	configure_in build
	say "Building in build/"
	build_in build all || give_up "the build failed"
	mkdir -p "$run_dir"
	trap end_run EXIT
	trap 'exit 130' HUP INT TERM
	choose_origin
	choose_state_dir "$@"
	rm -f "$run_dir/token"
	token_file=$(option auth-token-file "$@")
	if [ -n "$token_file" ]; then
		(umask 077 && sed -n '1s/^/Authorization: Bearer /p' "$token_file" >"$run_dir/token")
	fi
	[ -z "$origin" ] || set -- --egress-allow 127.0.0.1/32 "$@"
	[ -z "$state_dir" ] || set -- --state-dir "$state_dir" "$@"
	start_server "$@"
	show_fetch || exit 1
	show_more
	tail -n +"$(($(wc -l <"$log") + 1))" -f "$log" 2>/dev/null &
	tail_pid=$!
	stay
}
