/* See state_dir.h. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "base/state_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/id.h"

/* Makes what was written in the folder that holds path durable. */
static int
sync_parent(const char *path)
{
	char *parent = strdup(path);

	if (parent == NULL)
		return -ENOMEM;
	char *slash = strrchr(parent, '/');
	if (slash == parent)
		slash[1] = '\0';
	else if (slash != NULL)
		*slash = '\0';
	int fd = open(slash == NULL ? "." : parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error = fd < 0 || fsync(fd) != 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	free(parent);
	return error;
}

static int
make_folder(const char *path)
{
	if (mkdir(path, 0700) != 0)
		return errno == EEXIST ? 0 : -errno;
	return sync_parent(path);
}

/* mkdir -p with mode 0700 for what is new. */
static int
make_path(const char *path)
{
	char *copy = strdup(path);
	int error = 0;

	if (copy == NULL)
		return -ENOMEM;
	for (char *at = copy + 1; error == 0 && *at != '\0'; at++) {
		if (*at != '/')
			continue;
		*at = '\0';
		error = make_folder(copy);
		*at = '/';
	}
	if (error == 0)
		error = make_folder(copy);
	free(copy);
	return error;
}

static int
lock_dir(struct state_dir *dir)
{
	char *path;

	if (asprintf(&path, "%s/lock", dir->path) < 0)
		return -ENOMEM;
	dir->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int error = dir->lock_fd < 0 ? -errno : 0;
	free(path);
	if (error == 0 && flock(dir->lock_fd, LOCK_EX | LOCK_NB) != 0)
		error = errno == EWOULDBLOCK ? -EAGAIN : -errno;
	return error;
}

int
state_dir_open(const char *path, struct state_dir *ret, char **ret_message)
{
	struct state_dir dir = {.lock_fd = -1};
	int error;

	*ret_message = NULL;
	dir.path = strdup(path);
	if (dir.path == NULL || asprintf(&dir.bodies, "%s/bodies", path) < 0) {
		free(dir.path);
		return -ENOMEM;
	}
	error = make_path(dir.path);
	if (error == 0)
		error = lock_dir(&dir);
	if (error == 0)
		error = make_path(dir.bodies);
	if (error == 0) {
		*ret = dir;
		return 0;
	}
	const char *fix = error == -EAGAIN
		? "another fetchpool runs on it; stop it or give this one its own --state-dir"
		: strerror(-error);
	if (asprintf(ret_message, "state directory %s: %s", path, fix) < 0)
		*ret_message = NULL;
	state_dir_close(&dir);
	return error;
}

void
state_dir_sweep_parts(const struct state_dir *dir)
{
	DIR *bodies = opendir(dir->bodies);

	if (bodies == NULL)
		return;
	for (struct dirent *entry; (entry = readdir(bodies)) != NULL;) {
		size_t length = strlen(entry->d_name);

		if (length == ID_TEXT_BYTES - 1 + strlen(".part") &&
			strcmp(entry->d_name + ID_TEXT_BYTES - 1, ".part") == 0)
			unlinkat(dirfd(bodies), entry->d_name, 0);
	}
	closedir(bodies);
}

void
state_dir_close(struct state_dir *dir)
{
	if (dir->lock_fd >= 0)
		close(dir->lock_fd);
	free(dir->path);
	free(dir->bodies);
	*dir = (struct state_dir){.lock_fd = -1};
}
