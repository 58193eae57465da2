/*
 * libev ends the process when it finds no memory, or the system refuses what it needs. This gives it memory in every case, and has
 * the rest told before the end.
 */
#ifndef FETCHPOOL_FETCH_EV_MEMORY_H
#define FETCHPOOL_FETCH_EV_MEMORY_H

/* Before the first loop is made, and after reserve_init. */
void ev_memory_init(void);

#endif
