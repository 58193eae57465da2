# Configuring and building out of the tree. Read in, not run.
# shellcheck shell=sh

cores() {
	getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1
}

# Makes configure when it is not there or older than what it is made from.
make_configure() {
	if [ -f config.status ]; then
		give_up "this tree was configured in place, which shuts out the builds beside it: run 'make distclean' first"
	fi
	if [ -x configure ] && [ -f Makefile.in ] &&
		[ -z "$(find configure.ac Makefile.am ./*/*.mk -newer configure -print)" ]; then
		return
	fi
	say "Making configure"
	if ! NOCONFIGURE=1 ./autogen.sh >autogen.log 2>&1; then
		cat autogen.log >&2
		give_up "autogen.sh failed"
	fi
	rm -f autogen.log
}

# configure_in DIR [ARGUMENT...]: unless it was with these arguments already.
configure_in() {
	dir=$1
	shift
	make_configure
	mkdir -p "$dir"
	if [ -f "$dir/Makefile" ] && [ -f "$dir/.configured" ] && [ "$(cat "$dir/.configured")" = "$*" ] &&
		[ -z "$(find configure -newer "$dir/config.status" -print)" ]; then
		return
	fi
	say "Configuring $dir/${*:+ with $*}"
	rm -f "$dir/.configured"
	if ! (cd "$dir" && "$top/configure" "$@" >configure.out 2>&1); then
		cat "$dir/configure.out" >&2
		give_up "configure failed; the details are in $dir/config.log"
	fi
	printf '%s\n' "$*" >"$dir/.configured"
}

# build_in DIR [TARGET...]
build_in() {
	dir=$1
	shift
	make -s -C "$dir" -j"$(cores)" "$@" </dev/null
}
