# What fetchpool is built from, how to see that it is there, and what it is called on each system. Read in, not run.
# shellcheck shell=sh

# A line each: in words | how to see it | apt | dnf | apk | pacman | brew. A dash: nothing to install it from.
# cmd: a command; pc: a pkg-config module and its least version; ev and header: a header; certs: a CA bundle;
# san: a sanitizer that the compiler can link; fuzzer: clang can link its libFuzzer.
needed() {
	cat <<'END'
a C compiler|cmd cc|gcc libc6-dev|gcc glibc-devel|build-base|gcc|-
make|cmd make|make|make|make|make|make
autoconf|cmd autoreconf|autoconf|autoconf|autoconf|autoconf|autoconf
automake 1.16|cmd automake|automake|automake|automake|automake|automake
perl|cmd perl|perl|perl-interpreter|perl|perl|perl
pkg-config|cmd pkg-config|pkg-config|pkgconf-pkg-config|pkgconf|pkgconf|pkgconf
libmicrohttpd|pc libmicrohttpd 0.9.75|libmicrohttpd-dev|libmicrohttpd-devel|libmicrohttpd-dev|libmicrohttpd|libmicrohttpd
GnuTLS, as libmicrohttpd has it|pc gnutls 3.6.3|libgnutls28-dev|gnutls-devel|gnutls-dev|gnutls|gnutls
libcurl, built with OpenSSL|pc libcurl 7.88.0|libcurl4-openssl-dev|libcurl-devel|curl-dev|curl|curl
jansson|pc jansson 2.13|libjansson-dev|jansson-devel|jansson-dev|jansson|jansson
SQLite|pc sqlite3 3.38.0|libsqlite3-dev|sqlite-devel|sqlite-dev|sqlite|sqlite
c-ares|pc libcares 1.16.0|libc-ares-dev|c-ares-devel|c-ares-dev|c-ares|c-ares
OpenSSL|pc libssl 1.1.1|libssl-dev|openssl-devel|openssl-dev|openssl|openssl@3
libidn2|pc libidn2 2.0.5|libidn2-dev|libidn2-devel|libidn2-dev|libidn2|libidn2
libconfuse|pc libconfuse 3.2|libconfuse-dev|libconfuse-devel|confuse-dev|confuse|confuse
libev|ev|libev-dev|libev-devel|libev-dev|libev|libev
uthash|header uthash.h|uthash-dev|uthash-devel|uthash-dev|uthash|uthash
zlib|pc zlib 1.2.5|zlib1g-dev|zlib-devel|zlib-dev|zlib|zlib
brotli|pc libbrotlidec 1.0|libbrotli-dev|brotli-devel|brotli-dev|brotli|brotli
zstd|pc libzstd 1.4.0|libzstd-dev|libzstd-devel|zstd-dev|zstd|zstd
Check (for the tests)|pc check 0.12|check|check-devel|check-dev|check|check
curl|cmd curl|curl|curl|curl|curl|curl
CA certificates|certs|ca-certificates|ca-certificates|ca-certificates|ca-certificates|-
END
}

# Without these, parts of the tests are skipped and say so.
wanted() {
	cat <<'END'
the address sanitizer|san address,undefined|-|libasan libubsan|-|-|-
the thread sanitizer|san thread|-|libtsan|-|-|-
clang's libFuzzer|fuzzer|clang libclang-rt-14-dev|clang compiler-rt|clang compiler-rt|clang compiler-rt|-
python3|cmd python3|python3|python3|python3|python|python3
jq|cmd jq|jq|jq|jq|jq|jq
shellcheck|cmd shellcheck|shellcheck|ShellCheck|shellcheck|shellcheck|shellcheck
mandoc|cmd mandoc|mandoc|mandoc|mandoc|-|mandoc
readelf|cmd readelf|binutils|binutils|binutils|binutils|-
systemd-analyze|cmd systemd-analyze|systemd|systemd|-|-|-
clang-format 14|cmd clang-format-14|clang-format-14|-|-|-|-
END
}

# The system's way to install: the column of the tables above, or nothing.
package_manager() {
	if [ "$(uname -s)" = Darwin ]; then
		! command -v brew >/dev/null 2>&1 || echo brew
		return
	fi
	for manager in apt-get dnf apk pacman; do
		if command -v "$manager" >/dev/null 2>&1; then
			echo "${manager%-get}"
			return
		fi
	done
}

# brew keeps some libraries where neither the compiler nor pkg-config looks.
use_brew_paths() {
	prefix=$(brew --prefix)
	for keg in curl openssl@3 zlib; do
		PKG_CONFIG_PATH=$prefix/opt/$keg/lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}
	done
	CPPFLAGS="-I$prefix/include ${CPPFLAGS-}"
	LDFLAGS="-L$prefix/lib ${LDFLAGS-}"
	export PKG_CONFIG_PATH CPPFLAGS LDFLAGS
}

has_header() {
	# shellcheck disable=SC2086 # words
	printf '#include <%s>\n' "$1" | ${CC:-cc} ${CPPFLAGS-} -E -x c - >/dev/null 2>&1
}

# links FLAG: can a program be compiled and linked with it?
links() {
	scratch=$(mktemp -d "${TMPDIR:-/tmp}/bootstrap.XXXXXX") || return 1
	printf 'int main(void) { return 0; }\n' >"$scratch/main.c"
	# shellcheck disable=SC2086 # words
	${CC:-cc} ${CFLAGS-} "$1" -o "$scratch/main" "$scratch/main.c" >/dev/null 2>&1
	linked=$?
	rm -rf "$scratch"
	return "$linked"
}

clang_fuzzes() {
	scratch=$(mktemp -d "${TMPDIR:-/tmp}/bootstrap.XXXXXX") || return 1
	printf 'int LLVMFuzzerTestOneInput(const char *b, unsigned long n) { return n > 9 && *b; }\n' >"$scratch/try.c"
	clang -fsanitize=fuzzer,address,undefined -o "$scratch/try" "$scratch/try.c" >/dev/null 2>&1
	linked=$?
	rm -rf "$scratch"
	return "$linked"
}

# present KIND [NAME [VERSION]]: is it there?
present() {
	case $1 in
	cmd) command -v "$2" >/dev/null 2>&1 ;;
	pc) pkg-config --exists "$2 >= $3" 2>/dev/null ;;
	ev) pkg-config --exists libev 2>/dev/null || has_header ev.h ;;
	header) has_header "$2" ;;
	san) links "-fsanitize=$2" ;;
	fuzzer) clang_fuzzes ;;
	certs)
		[ "$(uname -s)" = Darwin ] || [ -s /etc/ssl/certs/ca-certificates.crt ] ||
			[ -s /etc/pki/tls/certs/ca-bundle.crt ] || [ -s /etc/ssl/cert.pem ] || [ -s /etc/ssl/ca-bundle.pem ]
		;;
	esac
}

# missing TABLE: the lines of it whose thing is not there.
missing() {
	"$1" | while IFS='|' read -r words test rest; do
		# shellcheck disable=SC2086 # kind, name and version
		present $test </dev/null || printf '%s|%s|%s\n' "$words" "$test" "$rest"
	done
}

# packages_of MANAGER: the names, from lines of a table on standard input.
packages_of() {
	case $1 in
	apt) column=3 ;;
	dnf) column=4 ;;
	apk) column=5 ;;
	pacman) column=6 ;;
	brew) column=7 ;;
	esac
	cut -d '|' -f "$column" | grep -v -x -e - | tr '\n' ' '
}

# tell_missing LINES: in words, with what is there of the wrong version.
tell_missing() {
	printf '%s\n' "$1" | while IFS='|' read -r words test rest; do
		# shellcheck disable=SC2086 # kind, name and version
		set -- $test
		if [ "$1" != pc ]; then
			echo "    $words"
		elif found=$(pkg-config --modversion "$2" 2>/dev/null); then
			echo "    $words >= $3 (here is $found, which is too old)"
		else
			echo "    $words >= $3"
		fi
	done
}

# install MANAGER PACKAGE...
install() {
	manager=$1
	shift
	as_root=
	if [ "$manager" = brew ]; then
		if [ "$(id -u)" -eq 0 ]; then
			echo "bootstrap: brew does not run as root: run this as the user who owns it" >&2
			return 1
		fi
	elif [ "$(id -u)" -ne 0 ]; then
		if ! command -v sudo >/dev/null 2>&1; then
			echo "bootstrap: not root, and there is no sudo" >&2
			return 1
		elif sudo -n true 2>/dev/null || [ -t 0 ]; then
			as_root=sudo
		else
			echo "bootstrap: not root, and sudo wants a password that nobody is here to give" >&2
			return 1
		fi
	fi
	case $manager in
	apt)
		if [ -z "${apt_updated-}" ]; then
			$as_root apt-get update -q || return 1
			apt_updated=yes
		fi
		$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
		;;
	dnf) $as_root dnf install -y "$@" ;;
	apk) $as_root apk add --update-cache "$@" ;;
	pacman) $as_root pacman -Sy --needed --noconfirm "$@" ;;
	brew) brew install "$@" ;;
	esac </dev/null
}

# Installs what is needed and not there, or says what it cannot do and ends.
install_needed() {
	manager=$(package_manager)
	[ "$manager" != brew ] || use_brew_paths
	lacking=$(missing needed)
	if [ -z "$lacking" ]; then
		say "What is needed is installed"
		return
	fi
	say "Missing"
	tell_missing "$lacking"
	if [ -n "$manager" ]; then
		packages=$(printf '%s\n' "$lacking" | packages_of "$manager")
		say "Installing with $manager: $packages"
		# shellcheck disable=SC2086 # one word a package
		[ -z "$packages" ] || install "$manager" $packages ||
			echo "bootstrap: $manager could not install all of that" >&2
	else
		echo "bootstrap: this system has none of apt, dnf, apk, pacman and brew" >&2
	fi
	# A library may only be seen once pkg-config and the compiler are there.
	lacking=$(missing needed)
	if [ -n "$lacking" ] && [ -n "$manager" ] && [ "$(printf '%s\n' "$lacking" | packages_of "$manager")" != "$packages" ]; then
		# shellcheck disable=SC2046 # one word a package
		install "$manager" $(printf '%s\n' "$lacking" | packages_of "$manager")
		lacking=$(missing needed)
	fi
	[ -n "$lacking" ] || return 0
	echo "bootstrap: still missing; install these by hand, with their headers, and run this again:" >&2
	tell_missing "$lacking" >&2
	exit 1
}

# Installs what makes the checks complete, as far as that goes without a question; each is tried once.
install_wanted() {
	manager=$(package_manager)
	[ -n "$manager" ] || return 0
	mkdir -p build
	missing wanted >build/.wanted
	while read -r line <&3; do
		packages=$(printf '%s\n' "$line" | packages_of "$manager")
		words=${line%%|*}
		[ -n "$packages" ] || continue
		if [ -f build/.tried ] && grep -q -x -F "$words" build/.tried; then
			continue
		fi
		printf '%s\n' "$words" >>build/.tried
		say "Installing for the checks: $packages"
		# shellcheck disable=SC2086 # one word a package
		install "$manager" $packages || echo "bootstrap: going on without $words: what needs it is skipped" >&2
	done 3<build/.wanted
	rm -f build/.wanted
}
