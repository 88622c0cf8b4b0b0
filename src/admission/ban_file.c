#include "admission/ban_file.h"

#include <stdio.h>
#include <string.h>

#include "base/ascii.h"
#include "sallyport/error.h"

enum { DAY_S = 86400, WORD_MAX = 64 };
/* More is no duration a person means, and sums stay far from overflow. */
#define DURATION_MAX_S (UINT64_C(100) * 366 * DAY_S)

/* ---- Words ---- */

static bool is_blank(char c) { return ascii_is_blank(c) || c == '\r'; }

/* A piece of a line. */
struct piece {
    const char *text;
    size_t len;
};

static struct piece piece_trim(struct piece piece)
{
    while (piece.len && is_blank(piece.text[0])) piece.text++, piece.len--;
    while (piece.len && is_blank(piece.text[piece.len - 1])) piece.len--;
    return piece;
}

/* Cuts the first word off what is trimmed. */
static struct piece piece_word(struct piece *line)
{
    struct piece word = {line->text, 0};
    while (word.len < line->len && !is_blank(line->text[word.len])) word.len++;
    *line = piece_trim((struct piece){line->text + word.len, line->len - word.len});
    return word;
}

static bool piece_copy(struct piece piece, char *buf, size_t size)
{
    if (piece.len >= size || memchr(piece.text, '\0', piece.len)) return false;
    memcpy(buf, piece.text, piece.len);
    buf[piece.len] = '\0';
    return true;
}

/* ---- Dates: "2026-11-22T10:00:00Z" (RFC 3339, in UTC) ---- */

/* Days from 1970-01-01 in the Gregorian calendar; the year begins in March, so that a leap day is
 * its last. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 + of_year - 719468;
}

static bool digits(const char *text, unsigned count, int *number)
{
    *number = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!ascii_is_digit(text[i])) return false;
        *number = *number * 10 + (text[i] - '0');
    }
    return true;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

static bool date_parse(const char *text, int64_t *world_s)
{
    int year, month, day, hour, minute, second;
    if (strlen(text) != 20 || text[4] != '-' || text[7] != '-' || text[10] != 'T' ||
        text[13] != ':' || text[16] != ':' || text[19] != 'Z')
        return false;
    if (!digits(text, 4, &year) || !digits(text + 5, 2, &month) || !digits(text + 8, 2, &day) ||
        !digits(text + 11, 2, &hour) || !digits(text + 14, 2, &minute) ||
        !digits(text + 17, 2, &second))
        return false;
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > days_in(year, month) ||
        hour > 23 || minute > 59 || second > 59)
        return false;
    *world_s = days_of(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
    return true;
}

static void date_format(char *buf, size_t size, int64_t world_s)
{
    int64_t days = world_s / DAY_S;
    unsigned rest = (unsigned)(world_s % DAY_S);
    int year = 1970, month = 1;
    while (days_of(year + 1, 1, 1) <= days) year++;
    while (month < 12 && days_of(year, month + 1, 1) <= days) month++;
    snprintf(buf, size, "%04d-%02d-%02dT%02u:%02u:%02uZ", year, month,
             (int)(days - days_of(year, month, 1)) + 1, rest / 3600, rest / 60 % 60, rest % 60);
}

/* ---- Expiries ---- */

/* "90s", "10m", "24h", "30d" */
static bool duration_parse(const char *text, uint64_t *seconds)
{
    static const char units[] = "smhd";
    static const uint64_t factors[] = {1, 60, 3600, DAY_S};
    uint64_t number = 0;
    const char *c = text;
    for (; ascii_is_digit(*c); c++) {
        number = number * 10 + (uint64_t)(*c - '0');
        if (number > DURATION_MAX_S) return false;
    }
    const char *unit = *c ? strchr(units, *c) : NULL;
    if (c == text || !unit || c[1]) return false;
    *seconds = number * factors[unit - units];
    return *seconds > 0 && *seconds <= DURATION_MAX_S;
}

/* What a date in the past gives is over already. */
static bool expiry_parse(struct piece piece, const struct ban_now *now, uint64_t *until_ms)
{
    char word[WORD_MAX];
    uint64_t seconds;
    int64_t world_s;
    if (!piece_copy(piece, word, sizeof word)) return false;
    if (strcmp(word, "never") == 0) {
        *until_ms = BAN_NEVER;
    } else if (duration_parse(word, &seconds)) {
        *until_ms = now->now_ms + seconds * 1000;
    } else {
        if (!date_parse(word, &world_s)) return false;
        int64_t left_s = world_s - now->world_s;
        *until_ms = left_s > 0 ? now->now_ms + (uint64_t)left_s * 1000 : now->now_ms;
    }
    return true;
}

/* ---- Lines ---- */

struct line {
    struct cidr cidr;
    uint64_t until_ms;
    char reason[BAN_REASON_MAX + 1];
};

static const char *line_reason(struct line *line, struct piece rest)
{
    if (!piece_copy(rest, line->reason, sizeof line->reason))
        return "the reason is longer than 127 bytes";
    return ban_reason_is_valid(line->reason) ? NULL : "the reason has control characters";
}

/* NULL, or what is wrong. A second word that begins as a number does is an expiry: so two addresses
 * on one line are not one and a reason. */
static const char *line_parse(struct line *line, struct piece text, const struct ban_now *now)
{
    char network[CIDR_TEXT_MAX];
    const char *why;
    struct piece rest = text;
    if (!piece_copy(piece_word(&rest), network, sizeof network)) network[0] = '\0';
    if (cidr_parse(&line->cidr, network, &why) != 0) return why;
    line->until_ms = BAN_NEVER;
    struct piece after = rest;
    struct piece word = piece_word(&after);
    bool never = word.len == 5 && memcmp(word.text, "never", 5) == 0;
    if (never || (word.len && ascii_is_digit(word.text[0]))) {
        if (!expiry_parse(word, now, &line->until_ms))
            return "the expiry can't be read; write 90s, 10m, 24h, 30d, 2026-11-22T10:00:00Z "
                   "or never";
        rest = after;
    }
    return line_reason(line, rest);
}

static int file__add(struct ban_table *table, const struct line *line)
{
    bool failed;
    int err = ban_table_get(table, &line->cidr) ? 0 : ban_table_room(table);
    if (err) return err;
    char *reason = ban_reason_copy(table->mem, line->reason, &failed);
    if (failed) return SALLY_ENOMEM;
    ban_reason_free(table->mem, ban_table_add(table, &line->cidr, line->until_ms, reason));
    return 0;
}

static int file__fault(struct ban_fault *fault, uint32_t number, int err, const char *why)
{
    fault->line = number;
    snprintf(fault->why, sizeof fault->why, "%s", why);
    return err;
}

static int file__line(struct ban_table *table, struct piece text, const struct ban_now *now,
                      uint32_t number, struct ban_fault *fault)
{
    struct line line;
    if (text.len >= BAN_LINE_MAX)
        return file__fault(fault, number, SALLY_EBANFILE, "the line is longer than 511 bytes");
    text = piece_trim(text);
    if (!text.len || text.text[0] == '#') return 0;
    const char *why = line_parse(&line, text, now);
    if (why) return file__fault(fault, number, SALLY_EBANFILE, why);
    if (line.until_ms <= now->now_ms) return 0;
    int err = file__add(table, &line);
    if (!err) return 0;
    return file__fault(fault, number, err,
                       err == SALLY_ELIMIT ? "there are more bans than bans_max allows"
                                           : sally_strerror(err));
}

int ban_file_read(struct ban_table *table, const char *text, size_t len, const struct ban_now *now,
                  struct ban_fault *fault)
{
    uint32_t number = 0;
    fault->line = 0;
    fault->why[0] = '\0';
    for (size_t at = 0; at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t line_len = end ? (size_t)(end - text) - at : len - at;
        int err = file__line(table, (struct piece){text + at, line_len}, now, ++number, fault);
        if (err) return err;
        at += line_len + 1;
    }
    return 0;
}

size_t ban_file_line(char *buf, size_t size, const struct cidr *cidr, uint64_t until_ms,
                     const char *reason, const struct ban_now *now)
{
    char network[CIDR_TEXT_MAX], expiry[64] = "never";
    if (until_ms != BAN_NEVER) {
        uint64_t left_ms = until_ms > now->now_ms ? until_ms - now->now_ms : 0;
        date_format(expiry, sizeof expiry, now->world_s + (int64_t)((left_ms + 999) / 1000));
    }
    bool has_reason = reason && *reason;
    int len = snprintf(buf, size, "%s %s%s%s\n", cidr_format(cidr, network, sizeof network), expiry,
                       has_reason ? " " : "", has_reason ? reason : "");
    return (size_t)len;
}
