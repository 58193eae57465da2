# Seven clients for one task, and the script that runs them all against a server.
EXTRA_DIST += \
	examples/README \
	examples/check \
	examples/fetch.c \
	examples/fetch.go \
	examples/fetch.mjs \
	examples/fetch.php \
	examples/fetch.pl \
	examples/fetch.py \
	examples/fetch.sh
