/*
 * The state directory: made when it is missing, locked against a second server, with a folder for bodies.
 */
#ifndef FETCHPOOL_BASE_STATE_DIR_H
#define FETCHPOOL_BASE_STATE_DIR_H

struct state_dir {
	char *path, *bodies;
	int lock_fd;
};

/*
 * Makes, locks and opens it. Returns 0 or -errno with a message that says what is wrong and what to do (malloc'd).
 * -EAGAIN: another server has it.
 */
int state_dir_open(const char *path, struct state_dir *ret, char **ret_message) __attribute__((warn_unused_result));

/* Removes the bodies of an earlier run that no durable store took over (ID.part): nothing refers to them any more. */
void state_dir_sweep_parts(const struct state_dir *dir);

void state_dir_close(struct state_dir *dir);

#endif
