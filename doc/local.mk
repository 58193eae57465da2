# README, NEWS and COPYING are named by the top Makefile.am.
dist_doc_DATA += \
	doc/api.md \
	doc/design.md \
	doc/egress.md \
	doc/ledger.md \
	doc/operating.md
