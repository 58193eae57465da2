/* What all stores share. See ledger.h. */
#include "ledger/ledger.h"

#include <string.h>

bool
ledger_filter_fits(const struct ledger_filter *filter, const struct job *job)
{
	const struct job_spec *spec = job->spec;

	if (filter->states != 0 && (filter->states & (1u << job->state)) == 0)
		return false;
	if (filter->tag != NULL && !job_spec_has_tag(spec, filter->tag))
		return false;
	if (filter->host != NULL && strcmp(filter->host, spec->origin.host) != 0)
		return false;
	if (filter->port != 0 && filter->port != spec->origin.port)
		return false;
	if (!job_spec_owned_by(spec, filter->owner))
		return false;
	return filter->batch == NULL; /* no job is in a batch yet */
}
