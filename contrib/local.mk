EXTRA_DIST += \
	contrib/bash-completion/fetchpool \
	contrib/fetchpool.conf \
	contrib/systemd/fetchpool.service \
	contrib/systemd/fetchpool.socket
