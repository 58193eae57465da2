/* The text of --help, off the table of options. */
#include "base/options_private.h"

#include <string.h>

static int
head_width(const struct option *option)
{
	return (int)(strlen(option->name) + (option->word != NULL ? strlen(option->word) + 1 : 0));
}

static void
print_option(FILE *out, const struct option *option, int width)
{
	int used = fprintf(out, "  --%s%s%s", option->name, option->word != NULL ? " " : "",
		option->word != NULL ? option->word : "");

	fprintf(out, "%*s%s", width + 7 - used, "", option->help);
	if (option->kind == OPTION_LIST)
		fputs("; may be repeated", out);
	if (option->default_text != NULL)
		fprintf(out, " (default: %s)", option->default_text);
	fputc('\n', out);
}

void
options_print_help(FILE *out)
{
	int width = 0;

	for (size_t i = 0; i < OPTION_TOTAL; i++)
		if (head_width(&option_table[i]) > width)
			width = head_width(&option_table[i]);
	fputs("Usage: fetchpool [OPTIONS]\n"
	      "A server that fetches URLs for its clients, who await the results over HTTP.\n\n",
		out);
	for (size_t i = 0; i < OPTION_TOTAL; i++)
		print_option(out, &option_table[i], width);
	fputs("\n"
	      "A DURATION is a number with ms, s, m, h or d (seconds without), a SIZE one with KiB, MiB or GiB (bytes without).\n"
	      "\n"
	      "An option can also be given in the environment, as FETCHPOOL_NAME (FETCHPOOL_MAX_WAIT=30s; several values with\n"
	      "blanks between; yes or no for one without a value), and in the file of --config, as name = value\n"
	      "(max-wait = 30s; several values as {a, b}; origin \"HOST[:PORT]\" { max-in-flight = N } for --origin-limit).\n"
	      "The command line wins over the environment, the environment over the file.\n",
		out);
}
