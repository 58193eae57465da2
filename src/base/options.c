/*
 * See options.h. Each source is read into settings (an option, a value, where it stood), which are applied one after
 * the other, lowest source first; so a later one wins by itself, and only lists need to know when a higher source
 * begins. Every value is checked, also one that is overruled later.
 *
 * The table of options is in options_table.c, the kinds of values in options_values.c, the command line in
 * options_command_line.c. Here are the environment, the file, the order of the sources, and what is left to do after
 * them. Called by main's thread; no lock.
 */
#include "base/options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory_budget.h"
#include "base/options_private.h"

/* ---- one setting */

int
option_apply(struct load *load, const struct setting *setting)
{
	const struct option *option = &option_table[setting->index];

	if (setting->value != NULL && *setting->value == '\0' && option->kind != OPTION_STRING)
		return FAIL(load, "%s: the value is empty", setting->label);
	int error = option->check != NULL ? option->check(load, setting) : 0;
	if (error == 0)
		error = option_set(load, setting);
	if (error == 0) {
		load->layers[setting->index] = setting->layer;
		load->sources[setting->index] = setting->source;
	}
	return error;
}

static int
apply_defaults(struct load *load)
{
	int error = 0;

	for (size_t i = 0; i < OPTION_TOTAL && error == 0; i++) {
		struct setting setting = {
			i, option_table[i].default_text, option_table[i].name, "default", LAYER_DEFAULT};

		if (setting.value != NULL && !(option_table[i].flags & COMPUTED))
			error = option_apply(load, &setting);
	}
	return error;
}

/* ---- the environment */

static const char *
environment_value(const struct load *load, const char *name)
{
	size_t length = strlen(name);

	for (char *const *at = load->environment; at != NULL && *at != NULL; at++)
		if (strncmp(*at, name, length) == 0 && (*at)[length] == '=')
			return *at + length + 1;
	return NULL;
}

static char *
variable_name(struct load *load, size_t index)
{
	char text[OPTION_NAME_BYTES + 16];

	snprintf(text, sizeof text, "FETCHPOOL_%s", option_table[index].name);
	for (char *at = text; *at != '\0'; at++) {
		if (*at == '-')
			*at = '_';
		else if (*at >= 'a' && *at <= 'z')
			*at = (char)(*at - 'a' + 'A');
	}
	return arena_string(&load->arena, text);
}

/* Applies the values of a list, which have blanks between. */
static int
apply_words(struct load *load, struct setting *setting)
{
	char *words = arena_string(&load->arena, setting->value), *rest = words;
	int error = 0;

	if (words == NULL)
		return -ENOMEM;
	words = strtok_r(words, " \t\r\n", &rest);
	if (words == NULL)
		return FAIL(load, "%s: the value is empty", setting->label);
	for (; words != NULL && error == 0; words = strtok_r(NULL, " \t\r\n", &rest)) {
		setting->value = words;
		error = option_apply(load, setting);
	}
	return error;
}

static int
apply_variable(struct load *load, size_t index)
{
	const char *name = variable_name(load, index);

	if (name == NULL)
		return -ENOMEM;
	struct setting setting = {index, environment_value(load, name), name, name, LAYER_ENVIRONMENT};
	if (setting.value == NULL)
		return 0;
	return option_table[index].kind == OPTION_LIST ? apply_words(load, &setting) : option_apply(load, &setting);
}

static int
apply_environment(struct load *load)
{
	int error = 0;

	for (size_t i = 0; i < OPTION_TOTAL && error == 0; i++)
		if (!(option_table[i].flags & NO_ENVIRONMENT))
			error = apply_variable(load, i);
	return error;
}

/* ---- the file */

static int
apply_line(struct load *load, const struct config_file_setting *line)
{
	struct buffer label = {0};
	struct setting setting = {.value = line->value, .layer = LAYER_FILE};

	if (line->section == CONFIG_FILE_ORIGIN)
		return line->name == NULL ? 0 : origin_limit_apply_section(load, line);
	if (line->section == CONFIG_FILE_TOKEN)
		return token_apply_section(load, line);
	setting.index = option_find(line->name, strlen(line->name));
	if (setting.index == OPTION_TOTAL)
		return FAIL(load, "%s:%d: %s: no such option", load->config_path, line->line, line->name);
	buffer_printf(&label, "%s:%d", load->config_path, line->line);
	if (label.failed)
		goto out;
	setting.source = arena_copy(&load->arena, label.data, label.count);
	buffer_printf(&label, ": %s", line->name);
	if (!label.failed)
		setting.label = arena_copy(&load->arena, label.data, label.count);
out:
	buffer_release(&label);
	return setting.source != NULL && setting.label != NULL ? option_apply(load, &setting) : -ENOMEM;
}

static int
apply_file(struct load *load)
{
	struct config_file_name names[OPTION_TOTAL];
	struct config_file file;
	size_t count = 0;

	for (size_t i = 0; i < OPTION_TOTAL; i++)
		if (!(option_table[i].flags & NO_FILE))
			names[count++] =
				(struct config_file_name){option_table[i].name, option_table[i].kind == OPTION_LIST};
	int error = config_file_read(load->config_path, names, count, &load->arena, &file, &load->message);
	if (error != 0)
		return error;
	for (size_t i = 0; i < file.count && error == 0; i++)
		error = apply_line(load, &file.settings[i]);
	for (size_t i = 0; i < file.count; i++)
		if (file.settings[i].section == CONFIG_FILE_TOKEN && file.settings[i].value != NULL)
			explicit_bzero(file.settings[i].value, strlen(file.settings[i].value));
	return error;
}

/* ---- what is left once all sources are read */

static char *
joined(const char *directory, size_t length, const char *rest)
{
	struct buffer path = {0};

	buffer_append(&path, directory, length);
	buffer_append_string(&path, rest);
	return buffer_steal(&path);
}

/* The XDG base directory specification has relative paths ignored. */
static char *
default_state_dir(const struct load *load)
{
	const char *directory = environment_value(load, "STATE_DIRECTORY");

	if (directory != NULL && strcspn(directory, ":") > 0)
		return joined(directory, strcspn(directory, ":"), "");
	directory = environment_value(load, "XDG_STATE_HOME");
	if (directory != NULL && *directory == '/')
		return joined(directory, strlen(directory), "/fetchpool");
	directory = environment_value(load, "HOME");
	if (directory != NULL && *directory != '\0')
		return joined(directory, strlen(directory), "/.local/state/fetchpool");
	return strdup("/var/lib/fetchpool");
}

static int64_t
default_workers(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN), most = (long)option_table[INDEX_workers].maximum;

	return cores < 1 ? 1 : cores > most ? most : cores;
}

static int64_t
default_max_memory(void)
{
	int64_t half = memory_available("/proc", "/sys") / 2, least = option_table[INDEX_max_memory].minimum;

	return half < least ? least : half;
}

/* The tokens are read later and at each reload, but a name that cannot be read is better told at once. */
static int
check_token_file(struct load *load)
{
	const char *path = load->config.auth_token_file, *source = load->sources[INDEX_auth_token_file];
	bool in_file = load->layers[INDEX_auth_token_file] == LAYER_FILE;
	struct stat status;

	if (path == NULL)
		return 0;
	load->config.auth_token_file_source = strdup(source);
	if (load->config.auth_token_file_source == NULL)
		return -ENOMEM;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int error = fd < 0 || fstat(fd, &status) != 0 ? errno : S_ISDIR(status.st_mode) ? EISDIR : 0;
	if (fd >= 0)
		close(fd);
	if (error == 0)
		return 0;
	return FAIL(load, "%s%s: %s: %s", source, in_file ? ": auth-token-file" : "", path, strerror(error));
}

static int
complete(struct load *load)
{
	struct config *config = &load->config;

	if (config->workers == 0)
		config->workers = default_workers();
	if (config->max_memory == 0)
		config->max_memory = default_max_memory();
	if (config->state_dir == NULL)
		config->state_dir = default_state_dir(load);
	if (config->state_dir == NULL)
		return -ENOMEM;
	int error = origin_limit_apply_options(load);
	return error != 0 ? error : check_token_file(load);
}

static int
load_sources(struct load *load, int argc, char **argv)
{
	int error = apply_defaults(load);

	if (error == 0)
		error = command_line_scan(load, argc, argv);
	if (error != 0 || load->config.help || load->config.version)
		return error;
	if (load->config_path == NULL)
		load->config_path = environment_value(load, "FETCHPOOL_CONFIG");
	if (load->config_path != NULL && *load->config_path != '\0')
		error = apply_file(load);
	if (error == 0)
		error = apply_environment(load);
	if (error == 0)
		error = command_line_apply(load, argc, argv);
	return error;
}

int
options_load(int argc, char **argv, char *const *environment, const struct options_checks *checks, struct config *ret,
	char **ret_message)
{
	struct load load = {.checks = checks, .environment = environment};
	int error = load_sources(&load, argc, argv);

	if (error == 0)
		error = complete(&load);
	if (error == 0) {
		*ret = load.config;
	} else {
		config_release(&load.config);
		*ret_message = error == -EINVAL ? buffer_steal(&load.message) : NULL;
	}
	if (error == -EINVAL && *ret_message == NULL)
		error = -ENOMEM;
	buffer_release(&load.message);
	arena_release(&load.arena);
	return error;
}
