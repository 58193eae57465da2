dist_man_MANS += \
	man/fetchpool.8 \
	man/fetchpool.conf.5 \
	man/fetchpool-api.7
