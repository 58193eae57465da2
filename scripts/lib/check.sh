# scripts/bootstrap check. Read in, not run.
# shellcheck shell=sh

all_passed=0
all_failed=0
all_skipped=0

# counts DIR: "PASSED FAILED SKIPPED" of what make check left there. A test program that prints Check's own counts
# counts as that many tests, and so does a script that closes with "N passed, N failed"; any other counts as one; one that failed outside of its counted tests (it crashed at its end, it
# leaked) counts as one more.
counts() {
	find "$1" -name '*.trs' -print | while read -r trs; do
		awk -v log_file="${trs%.trs}.log" '
			/^:test-result: *(PASS|XFAIL)/ { passed++ }
			/^:test-result: *(FAIL|XPASS|ERROR)/ { failed++ }
			/^:test-result: *SKIP/ { skipped++ }
			END {
				while ((getline line < log_file) > 0) {
					if (line ~ /^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+/) {
						split(line, part, /[^0-9]+/)
						checks += part[2]
						bad += part[3] + part[4]
					}
					if (line ~ /^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$/) {
						split(line, part, /[^0-9]+/)
						checks += part[1] + part[2]
						bad += part[2]
						left_out += part[3]
					}
				}
				if (checks > 0 && !skipped) {
					passed = checks - bad
					failed = bad > 0 ? bad : failed
					skipped = left_out
				}
				print passed + 0, failed + 0, skipped + 0
			}
		' "$trs"
	done | awk '{ passed += $1; failed += $2; skipped += $3 } END { print passed + 0, failed + 0, skipped + 0 }'
}

# show_failures DIR: the logs of what failed, of what was still running when it was ended, and why what was skipped was.
show_failures() {
	find "$1" -name '*.trs' -exec grep -l -E '^:test-result: *(FAIL|XPASS|ERROR)' {} + | LC_ALL=C sort | while read -r trs; do
		printf '\n---- %s failed:\n' "${trs%.trs}"
		tail -n 300 "${trs%.trs}.log" | sed 's/^/    /'
	done
	find "$1/fuzz" "$1/tests" "$1/scripts" -name '*.log' -print 2>/dev/null | LC_ALL=C sort | while read -r log; do
		if [ ! -f "${log%.log}.trs" ]; then
			printf '\n---- %s had not ended:\n' "${log%.log}"
			tail -n 100 "$log" | sed 's/^/    /'
		fi
	done
	find "$1" -name '*.trs' -exec grep -l -E '^:test-result: *SKIP' {} + | LC_ALL=C sort | while read -r trs; do
		printf 'skipped: %s: %s\n' "${trs#"$1"/}" "$(tail -n 1 "${trs%.trs}.log")"
	done
}

# count PASSED FAILED SKIPPED: into the sum.
count() {
	all_passed=$((all_passed + $1))
	all_failed=$((all_failed + $2))
	all_skipped=$((all_skipped + $3))
}

# bounded COMMAND...: ends it with SIGTERM after FETCHPOOL_CHECK_SECONDS, and when this script is ended.
bounded() {
	if command -v timeout >/dev/null 2>&1; then
		set -- timeout -k 30 "${FETCHPOOL_CHECK_SECONDS:-1200}" "$@"
	fi
	"$@" </dev/null &
	job=$!
	trap 'kill -TERM "$job" 2>/dev/null; exit 130' HUP INT TERM
	wait "$job"
	ended=$?
	trap - HUP INT TERM
	return "$ended"
}

# check_in DIR WORDS WRAPPER [CONFIGURE ARGUMENT...]: configures, builds and tests in DIR; WRAPPER runs make check.
check_in() {
	dir=$1
	words=$2
	wrapper=$3
	shift 3
	configure_in "$dir" "$@"
	say "Building in $dir/ ($words)"
	if ! build_in "$dir" all; then
		echo "bootstrap: the $words build failed" >&2
		count 0 1 0
		return
	fi
	# Results of an earlier run must not be counted.
	find "$dir" -name '*.trs' -exec rm -f {} +
	rm -f "$dir"/fuzz/*.log "$dir"/tests/*.log "$dir"/scripts/*.log
	say "Testing in $dir/ ($words)"
	before=$(date +%s)
	# shellcheck disable=SC2086 # words
	bounded $wrapper make -s -C "$dir" -j2 check
	status=$?
	seconds=$(($(date +%s) - before))
	# shellcheck disable=SC2046 # three words
	set -- $(counts "$dir")
	show_failures "$dir"
	if [ "$status" -eq 124 ]; then
		echo "bootstrap: make check was ended after $seconds s" >&2
	fi
	# Ended, or a test program that does not build: nothing of that has been counted.
	if [ "$status" -eq 124 ] || { [ "$status" -ne 0 ] && [ "$2" -eq 0 ]; }; then
		set -- "$1" "$(($2 + 1))" "$3"
	fi
	printf '%s: %s of the tests passed, %s failed, %s skipped, in %s s\n' "$words" "$1" "$2" "$3" "$seconds"
	count "$1" "$2" "$3"
}

# runs WRAPPER FLAG: does a program built with it run?
runs() {
	scratch=$(mktemp -d "${TMPDIR:-/tmp}/bootstrap.XXXXXX") || return 1
	printf 'int main(void) { return 0; }\n' >"$scratch/main.c"
	# shellcheck disable=SC2086 # words
	${CC:-cc} "$2" -o "$scratch/main" "$scratch/main.c" >/dev/null 2>&1 && $1 "$scratch/main" >/dev/null 2>&1
	ran=$?
	rm -rf "$scratch"
	return "$ran"
}

check_asan() {
	if ! links -fsanitize=address,undefined; then
		say "Skipped: the address sanitizer, which this compiler cannot link"
		count 0 0 1
		return
	fi
	if ! ASAN_OPTIONS=detect_leaks=1 runs '' -fsanitize=address; then
		if ! ASAN_OPTIONS=detect_leaks=0 runs '' -fsanitize=address; then
			say "Skipped: the address sanitizer, whose programs do not run here"
			count 0 0 1
			return
		fi
		say "Leaks are not looked for: LeakSanitizer does not run here (is this traced, or without ptrace?)"
		ASAN_OPTIONS=detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}
		export ASAN_OPTIONS
	fi
	UBSAN_OPTIONS=print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}
	export UBSAN_OPTIONS
	check_in build-asan "ASan and UBSan" '' --enable-asan "$@" 'CFLAGS=-g -O1'
}

check_tsan() {
	if ! links -fsanitize=thread; then
		say "Skipped: the thread sanitizer, which this compiler cannot link"
		count 0 0 1
		return
	fi
	fixed="setarch $(uname -m) -R"
	if runs '' -fsanitize=thread; then
		fixed=
	elif ! runs "$fixed" -fsanitize=thread; then
		say "Skipped: the thread sanitizer, whose programs do not run here, with or without '$fixed'" \
			"(sysctl vm.mmap_rnd_bits=28 mends it on most kernels)"
		count 0 0 1
		return
	else
		say "The thread sanitizer needs fixed addresses here: running its tests with '$fixed'"
	fi
	check_in build-tsan "TSan" "$fixed" --enable-tsan "$@" 'CFLAGS=-g -O1'
}

# Each fuzz target for FETCHPOOL_FUZZ_SECONDS. Its findings stay in build-fuzz/findings.
check_fuzz() {
	say "Fuzzing in build-fuzz/"
	mkdir -p build-fuzz
	bounded fuzz/run all "${FETCHPOOL_FUZZ_SECONDS:-60}" --build build-fuzz --findings build-fuzz/findings >build-fuzz/run.log 2>&1
	status=$?
	cat build-fuzz/run.log
	if [ "$status" -eq 77 ]; then
		count 0 0 1
		return
	fi
	# shellcheck disable=SC2046 # two words
	set -- $(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' build-fuzz/run.log | tail -n 1)
	# It did not come to its end: nothing of that has been counted.
	if [ $# -ne 2 ] || { [ "$status" -ne 0 ] && [ "$2" -eq 0 ]; }; then
		set -- 0 1
	fi
	count "$1" "$2" 0
}

bootstrap_check() {
	quick=
	werror=
	for argument in "$@"; do
		case $argument in
		--quick) quick=yes ;;
		--werror) werror=--enable-werror ;;
		*)
			usage >&2
			exit 2
			;;
		esac
	done
	install_needed
	install_wanted
	check_in build plain '' ${werror:+"$werror"}
	if [ -z "$quick" ]; then
		check_asan ${werror:+"$werror"}
		check_tsan ${werror:+"$werror"}
		check_fuzz
	fi
	printf '\n%s passed, %s failed, %s skipped\n' "$all_passed" "$all_failed" "$all_skipped"
	[ "$all_failed" -eq 0 ] && [ "$all_passed" -gt 0 ]
}
