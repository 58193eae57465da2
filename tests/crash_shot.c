/* See crash_shot.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "crash_shot.h"

#include "rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 2000 /* until there is a child */

static pid_t
first_child(const char *children)
{
	FILE *file = fopen(children, "r");
	int pid = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	fclose(file);
	return pid;
}

static void *
shot_main(void *argument)
{
	struct crash_shot *shot = argument;
	struct timespec delay = {.tv_nsec = (long)shot->delay_ms * 1000000};
	int64_t until = mono_ms() + PATIENCE_MS;
	pid_t child;

	while (!(child = first_child(shot->children)) && mono_ms() < until)
		;
	nanosleep(&delay, NULL);
	shot->hit = child && !kill(child, SIGKILL);
	return NULL;
}

void
crash_shot_start(struct crash_shot *shot, unsigned delay_ms)
{
	*shot = (struct crash_shot){.delay_ms = delay_ms};
	snprintf(shot->children, sizeof shot->children, "/proc/self/task/%d/children", (int)gettid());
	if (pthread_create(&shot->thread, NULL, shot_main, shot))
		abort();
}

bool
crash_shot_end(struct crash_shot *shot)
{
	pthread_join(shot->thread, NULL);
	return shot->hit;
}
