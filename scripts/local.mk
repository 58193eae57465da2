# The scripts, and the checks of the tree that make check runs.

tree_checks = \
	scripts/check-rooms \
	scripts/check-rooms-self-test \
	scripts/check-format \
	scripts/check-shell \
	scripts/check-man \
	scripts/check-options \
	scripts/check-hardening \
	scripts/check-unit \
	scripts/check-examples

TESTS += $(tree_checks)

EXTRA_DIST += \
	$(tree_checks) \
	scripts/bootstrap \
	scripts/lib/build.sh \
	scripts/lib/check.sh \
	scripts/lib/daemon.sh \
	scripts/lib/packages.sh \
	scripts/lib/run.sh
