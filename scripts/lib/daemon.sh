# Starting and ending the server and the test origin from a script. Read in, not run.
# shellcheck shell=sh

# spawn LOG COMMAND...: starts it in the background in a process group of its own, so that Ctrl-C at the terminal reaches
# the script alone, which then ends it in order. What it says goes to LOG; its process id is in $spawned. (perl is
# there: autoconf is written in it.)
spawn() {
	spawn_log=$1
	shift
	perl -e 'setpgrp(0, 0); exec { $ARGV[0] } @ARGV or die "$ARGV[0]: $!\n"' -- "$@" >"$spawn_log" 2>&1 </dev/null &
	# shellcheck disable=SC2034 # read by who calls
	spawned=$!
}

# alive PID: a child of this shell that has not ended.
alive() {
	kill -0 "$1" 2>/dev/null
}

# addresses LOG: what it says it listens on, one a line: http://ADDR:PORT or unix:PATH.
addresses() {
	sed -n 's/.*listening on \(http:\/\/[^ "]*\).*/\1/p; s/.*listening on \(unix:[^"]*\).*/\1/p' "$1"
}

# await_address LOG PID: waits until it listens (up to 30 s); the first address is in $address. Fails when it ended.
await_address() {
	address=
	tries=0
	while [ "$tries" -lt 300 ]; do
		address=$(addresses "$1" | sed -n 1p)
		[ -z "$address" ] || return 0
		alive "$2" || return 1
		sleep 0.1
		tries=$((tries + 1))
	done
	return 1
}

# finish PID [SECONDS]: SIGTERM, and SIGKILL when it has not ended within SECONDS (default 40). Returns its exit status.
finish() {
	kill -TERM "$1" 2>/dev/null
	tries=0
	while alive "$1" && [ "$tries" -lt $((${2:-40} * 10)) ]; do
		sleep 0.1
		tries=$((tries + 1))
	done
	if alive "$1"; then
		echo "process $1 did not end on SIGTERM within ${2:-40} s: killed" >&2
		kill -KILL "$1" 2>/dev/null
	fi
	wait "$1"
}
