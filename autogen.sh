#!/bin/sh
# Makes configure from configure.ac. Set NOCONFIGURE=1 to stop there; otherwise configure is run with the arguments given.
set -e
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
mkdir -p build-aux
autoreconf --force --install --warnings=all
if [ -z "$NOCONFIGURE" ]; then
	exec ./configure "$@"
fi
