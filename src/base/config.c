/* See config.h. What there is to free is read off the table of options. */
#include "base/config.h"

#include <stdlib.h>
#include <string.h>

bool
config_listens_by_default(const struct config *config)
{
	return config->listen.count == 1 && strcmp(config->listen.sources[0], "default") == 0;
}

void
config_list_clear(struct config_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->items[i]);
		free(list->sources[i]);
	}
	free(list->items);
	free(list->sources);
	*list = (struct config_list){0};
}

#define RELEASE_FLAG(member)
#define RELEASE_STRING(member) free(config->member);
#define RELEASE_LIST(member) config_list_clear(&config->member);
#define RELEASE_DURATION(member)
#define RELEASE_SIZE(member)
#define RELEASE_COUNT(member)
#define RELEASE_ENUM(member)

void
config_release(struct config *config)
{
#define X(kind, name, member, ...) RELEASE_##kind(member)
#include "base/options.tbl.h"
#undef X
	free(config->auth_token_file_source);
	for (size_t i = 0; i < config->origin_count; i++)
		free(config->origins[i].host);
	free(config->origins);
	for (size_t i = 0; i < config->token_count; i++)
		free(config->tokens[i].source);
	free(config->tokens);
	*config = (struct config){0};
}
