/* Reads options by getopt_long, from a table; see options.h. Nothing is kept between calls but what
 * getopt keeps, so it runs once in a process. */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 64, HELP_COLUMN = 30, OPTION_ID = 256 };

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"", 1}, {"k", 1u << 10}, {"m", 1u << 20}, {"g", 1u << 30}, {NULL, 0}};
static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {NULL, 0}};
/* The same, and a number alone is seconds. */
static const struct unit second_units[] = {{"", 1000},       {"ms", 1},          {"s", 1000},
                                           {"m", 60 * 1000}, {"h", 3600 * 1000}, {NULL, 0}};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

/* A whole number and one of the units, without sign or blanks. */
static bool read_scaled(const char *text, const struct unit *units, uint32_t min, uint32_t max,
                        uint32_t *out)
{
    if (!isdigit((unsigned char)text[0])) return false;
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno || number > UINT32_MAX) return false;
    while (units->name && strcmp(units->name, end) != 0) units++;
    if (!units->name || number * units->factor > max || number * units->factor < min) return false;
    *out = (uint32_t)(number * units->factor);
    return true;
}

static void complain(const struct option_table *table)
{
    fprintf(stderr, "; try '%s --help'\n", table->command);
}

static bool wrong_value(const struct option_table *table, const struct option_row *row,
                        const char *text)
{
    fprintf(stderr, "sallyport: --%s can't be '%s': write ", row->name, text);
    switch (row->kind) {
    case OPTION_NUMBER: fprintf(stderr, "a number from %u to %u", row->min, row->max); break;
    case OPTION_SIZE:
        fprintf(stderr, "a size from %u to %u bytes, such as 64k or 4m", row->min, row->max);
        break;
    case OPTION_TIME:
        fprintf(stderr, "a time with its unit, such as 500ms, 10s or 5m%s",
                row->never ? ", or never" : "");
        break;
    case OPTION_CHOICE:
        for (const char **choice = row->choices; *choice; choice++)
            fprintf(stderr, "%s%s",
                    choice == row->choices ? ""
                    : choice[1]            ? ", "
                                           : " or ",
                    *choice);
        break;
    case OPTION_FLAG:
    case OPTION_TEXT:
    case OPTION_TEXTS:
    case OPTION_HEADING: break;
    }
    complain(table);
    return false;
}

static bool read_choice(const struct option_row *row, const char *text, int *out)
{
    for (int i = 0; row->choices[i]; i++) {
        if (strcmp(row->choices[i], text) != 0) continue;
        *out = i;
        return true;
    }
    return false;
}

static bool add_text(const struct option_row *row, const char *text, struct texts *texts)
{
    if (texts->count == TEXTS_MAX) {
        fprintf(stderr, "sallyport: --%s was given more than %d times; leave some out\n", row->name,
                TEXTS_MAX);
        return false;
    }
    texts->items[texts->count++] = text;
    return true;
}

static bool read_value(const struct option_table *table, const struct option_row *row, void *target,
                       const char *text)
{
    void *member = (char *)target + row->offset;
    bool good = false;
    switch (row->kind) {
    case OPTION_FLAG: *(bool *)member = true; return true;
    case OPTION_TEXTS: return add_text(row, text, member);
    case OPTION_TEXT: *(const char **)member = text; return true;
    case OPTION_NUMBER: good = read_scaled(text, no_units, row->min, row->max, member); break;
    case OPTION_SIZE: good = read_scaled(text, size_units, row->min, row->max, member); break;
    case OPTION_TIME:
        good = read_scaled(text, row->seconds ? second_units : time_units, row->min ? row->min : 1,
                           row->max ? row->max : UINT32_MAX - 1, member);
        if (!good && row->never && strcmp(text, "never") == 0) {
            *(uint32_t *)member = UINT32_MAX;
            good = true;
        }
        break;
    case OPTION_CHOICE: good = read_choice(row, text, member); break;
    case OPTION_HEADING: break;
    }
    return good || wrong_value(table, row, text);
}

static void print_row(const struct option_row *row)
{
    if (row->kind == OPTION_HEADING) {
        printf("\n%s:\n", row->help);
        return;
    }
    int width =
        printf("  --%s%s%s", row->name, row->value ? " " : "", row->value ? row->value : "");
    const char *line = row->help;
    if (width > HELP_COLUMN - 2) {
        putchar('\n');
        width = 0;
    }
    while (line) {
        const char *end = strchr(line, '\n');
        int len = end ? (int)(end - line) : (int)strlen(line);
        printf("%*s%.*s\n", HELP_COLUMN - width, "", len, line);
        line = end ? end + 1 : NULL;
        width = 0;
    }
}

static void print_help(const struct option_table *table)
{
    printf("Usage: %s %s\n\n%s\n\nExamples:\n%s", table->command, table->synopsis, table->summary,
           table->examples);
    for (size_t i = 0; i < table->count; i++) print_row(&table->rows[i]);
    printf("  --help%*s%s\n", HELP_COLUMN - 8, "", "print this and exit");
}

static bool takes_value(const struct option_row *row) { return row->kind != OPTION_FLAG; }

/* getopt's own table; the last entry is --help. */
static void make_longs(const struct option_table *table, struct option *longs)
{
    size_t n = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct option_row *row = &table->rows[i];
        if (row->kind == OPTION_HEADING) continue;
        longs[n++] = (struct option){row->name, takes_value(row) ? required_argument : no_argument,
                                     NULL, OPTION_ID + (int)i};
    }
    longs[n] = (struct option){"help", no_argument, NULL, 'h'};
}

static enum options_result wrong_option(const struct option_table *table, char **argv, int found)
{
    const char *given = argv[optind - 1];
    if (found == ':')
        fprintf(stderr, "sallyport: %s needs a value", given);
    else if (optopt >= OPTION_ID)
        fprintf(stderr, "sallyport: %s takes no value", given);
    else
        fprintf(stderr, "sallyport: there is no option '%s'", given);
    complain(table);
    return OPTIONS_WRONG;
}

enum options_result options_read(const struct option_table *table, void *target, int argc,
                                 char **argv)
{
    struct option longs[ROWS_MAX] = {0};
    if (table->count + 2 > ROWS_MAX) abort();
    make_longs(table, longs);
    opterr = 0;
    for (;;) {
        int found = getopt_long(argc, argv, ":h", longs, NULL);
        if (found == -1) break;
        if (found == 'h') {
            print_help(table);
            return OPTIONS_HELP;
        }
        if (found < OPTION_ID) return wrong_option(table, argv, found);
        if (!read_value(table, &table->rows[found - OPTION_ID], target, optarg))
            return OPTIONS_WRONG;
    }
    if (optind < argc) {
        fprintf(stderr, "sallyport: '%s' is not an option", argv[optind]);
        complain(table);
        return OPTIONS_WRONG;
    }
    return OPTIONS_READ;
}
