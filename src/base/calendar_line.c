/* Lines of crontab(5), from text to the sets of sallyport/calendar.h. Pure; any thread. */
#include <string.h>

#include "base/ascii.h"
#include "sallyport/calendar.h"

enum { NUMBER_MAX = 9999, NAME_BYTES = 3 };

/* What stands in one of the five places. */
struct field {
    unsigned first, last;
    const char *names; /* three letters each; NULL: none */
    unsigned name_first;
};

enum { MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };

static const struct field fields[FIELDS] = {
    [MINUTE] = {0, 59, NULL, 0},
    [HOUR] = {0, 23, NULL, 0},
    [DAY] = {1, 31, NULL, 0},
    [MONTH] = {1, 12, "janfebmaraprmayjunjulaugsepoctnovdec", 1},
    [WEEKDAY] = {0, 7, "sunmontuewedthufrisat", 0},
};

/* `at` stays where something makes no sense. */
struct cursor {
    const char *at;
};

static bool read_number(struct cursor *in, unsigned first, unsigned last, unsigned *value)
{
    const char *at = in->at;
    unsigned number = 0;
    for (; ascii_is_digit(*at) && number <= NUMBER_MAX; at++)
        number = number * 10 + (unsigned)(*at - '0');
    if (at == in->at || number < first || number > last) return false;
    in->at = at;
    *value = number;
    return true;
}

static bool read_name(struct cursor *in, const struct field *field, unsigned *value)
{
    char name[NAME_BYTES];
    for (unsigned i = 0; i < NAME_BYTES; i++) {
        if (!ascii_is_letter(in->at[i])) return false;
        name[i] = ascii_lower(in->at[i]);
    }
    if (!field->names || ascii_is_letter(in->at[NAME_BYTES])) return false;
    for (unsigned i = 0; field->names[i * NAME_BYTES]; i++) {
        if (memcmp(field->names + i * NAME_BYTES, name, NAME_BYTES) != 0) continue;
        in->at += NAME_BYTES;
        *value = field->name_first + i;
        return true;
    }
    return false;
}

static bool read_value(struct cursor *in, const struct field *field, unsigned *value)
{
    if (ascii_is_digit(*in->at)) return read_number(in, field->first, field->last, value);
    return read_name(in, field, value);
}

/* The end of a range. "fri-sun" ends with the Sunday after. */
static bool read_last(struct cursor *in, const struct field *field, unsigned first, unsigned *last)
{
    struct cursor before = *in;
    if (!read_value(in, field, last)) return false;
    if (field == &fields[WEEKDAY] && first && !*last && !ascii_is_digit(*before.at))
        *last = field->last;
    if (*last >= first) return true;
    *in = before;
    return false;
}

/* A value, a range or "*", the latter two with a step if there is one. */
static bool read_part(struct cursor *in, const struct field *field, uint64_t *set)
{
    unsigned first = field->first, last = field->last, step = 1;
    bool range = *in->at == '*';
    if (range) {
        in->at++;
    } else {
        if (!read_value(in, field, &first)) return false;
        last = first;
        range = *in->at == '-';
        if (range) in->at++;
        if (range && !read_last(in, field, first, &last)) return false;
    }
    if (range && *in->at == '/') {
        in->at++;
        if (!read_number(in, 1, NUMBER_MAX, &step)) return false;
    }
    for (unsigned value = first; value <= last; value += step) *set |= UINT64_C(1) << value;
    return true;
}

static bool read_field(struct cursor *in, const struct field *field, uint64_t *set, bool *star)
{
    while (ascii_is_blank(*in->at)) in->at++;
    *star = *in->at == '*';
    *set = 0;
    for (;;) {
        if (!read_part(in, field, set)) return false;
        if (*in->at != ',') return !*in->at || ascii_is_blank(*in->at);
        in->at++;
    }
}

static bool read_line(struct cursor *in, sally_calendar *calendar)
{
    uint64_t set[FIELDS];
    bool star[FIELDS];
    for (unsigned i = 0; i < FIELDS; i++)
        if (!read_field(in, &fields[i], &set[i], &star[i])) return false;
    while (ascii_is_blank(*in->at)) in->at++;
    if (*in->at) return false;
    *calendar = (sally_calendar){.minutes = set[MINUTE],
                                 .hours = (uint32_t)set[HOUR],
                                 .days = (uint32_t)set[DAY],
                                 .months = (uint32_t)set[MONTH],
                                 .weekdays = (uint32_t)((set[WEEKDAY] | set[WEEKDAY] >> 7) & 0x7f),
                                 .both_days = star[DAY] || star[WEEKDAY]};
    return true;
}

int sally_calendar_parse(const char *line, sally_calendar *calendar, unsigned *column)
{
    if (!line || !calendar) return SALLY_EINVAL;
    struct cursor in = {line};
    if (read_line(&in, calendar)) return 0;
    if (column) *column = (unsigned)(in.at - line) + 1;
    return SALLY_EMALFORMED;
}
