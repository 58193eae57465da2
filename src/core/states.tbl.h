/* The states of a job: X(name, done, the states it may go to). */
X(queued, false, BIT(running) | BIT(failed) | BIT(cancelled))
X(running, false, BIT(queued) | BIT(retrying) | BIT(succeeded) | BIT(failed) | BIT(cancelled))
X(retrying, false, BIT(running) | BIT(failed) | BIT(cancelled))
X(succeeded, true, 0)
X(failed, true, 0)
X(cancelled, true, 0)
