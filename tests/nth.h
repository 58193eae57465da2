/*
 * What tests/nth.so does to a process that it is preloaded into, and how a test steers it: the Nth call of a kind fails; calls are
 * counted; the wall clock is set.
 *
 * The page is a file of sizeof(struct nth_page), $NTH_CONTROL, that the test maps, too. The test writes the plan before the process
 * starts, or while no kind is armed.
 */
#ifndef TESTS_NTH_H
#define TESTS_NTH_H

#include <stdatomic.h>
#include <stdint.h>

/* Kind, name, the error. "own" are allocations by the program itself, the C library, and what it parses JSON and waits with. */
#define NTH_KINDS(X)                                                                                                   \
	X(OWN, "own", ENOMEM)                                                                                          \
	X(MALLOC, "malloc", ENOMEM)                                                                                    \
	X(SOCKET, "socket", EMFILE)                                                                                    \
	X(ACCEPT, "accept", EMFILE)                                                                                    \
	X(OPEN, "open", EMFILE)                                                                                        \
	X(WRITE, "write", EIO)                                                                                         \
	X(FULL, "full", ENOSPC)                                                                                        \
	X(SYNC, "sync", EIO)                                                                                           \
	X(THREAD, "thread", EAGAIN)                                                                                    \
	X(EPOLL, "epoll", ENOMEM)                                                                                      \
	X(EVENTFD, "eventfd", EMFILE)

enum nth_kind {
#define X(kind, name, error) NTH_##kind,
	NTH_KINDS(X)
#undef X
		NTH_KIND_COUNT
};

#define NTH_TRACE_DEPTH 20

struct nth_page {
	int kind;       /* enum nth_kind of the calls that fail */
	uint64_t first; /* the first call that fails, from 1; 0: none */
	uint64_t times; /* so many fail */
	_Atomic uint32_t armed;
	_Atomic uint64_t count;           /* calls of the kind since it was armed */
	_Atomic uint32_t failed;          /* that were made to fail */
	_Atomic uint32_t traced;          /* the trace of the first of them stands below */
	char trace[NTH_TRACE_DEPTH][128]; /* "module+0xoffset", "" at the end */

	_Atomic int64_t wall_offset_ms;  /* what CLOCK_REALTIME is told beside the truth */
	_Atomic uint64_t accepts, waits; /* calls of accept and epoll_wait */
};

#endif
