/* Events against expectations; see journal.h. */
#include "trace/support/journal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static bool is_sent(const char *text) { return strcmp(text, "sent") == 0; }

static struct entry *add(struct journal *journal, const char *subject)
{
    if (journal->count == ENTRIES_MAX) {
        fprintf(stderr, "more than %d events in one step\n", ENTRIES_MAX);
        abort();
    }
    struct entry *entry = &journal->entry[journal->count++];
    *entry = (struct entry){0};
    snprintf(entry->subject, sizeof entry->subject, "%s", subject);
    journal->total++;
    return entry;
}

void journal_add(struct journal *journal, const char *subject, const char *format, ...)
{
    struct entry *entry = add(journal, subject);
    va_list args;
    va_start(args, format);
    vsnprintf(entry->text, sizeof entry->text, format, args);
    va_end(args);
}

/* The last of a subject's sequence, on_sent being one of its own. */
static struct entry *last_of(struct journal *journal, const char *subject, bool sent)
{
    for (unsigned i = journal->count; i-- > 0;) {
        struct entry *entry = &journal->entry[i];
        if (strcmp(entry->subject, subject) == 0 && is_sent(entry->text) == sent) return entry;
    }
    return NULL;
}

void journal_bytes(struct journal *journal, const char *subject, const char *what, uint64_t bytes)
{
    struct entry *entry = last_of(journal, subject, is_sent(what));
    if (!entry || strcmp(entry->text, what) != 0) {
        entry = add(journal, subject);
        snprintf(entry->text, sizeof entry->text, "%s", what);
        entry->is_bytes = true;
    }
    entry->bytes += bytes;
    journal->total += bytes;
}

void journal_clear(struct journal *journal) { journal->count = 0; }

static void print(const struct entry *entry, char *buf, size_t size)
{
    if (entry->is_bytes)
        snprintf(buf, size, "%s %s %llu", entry->subject, entry->text,
                 (unsigned long long)entry->bytes);
    else
        snprintf(buf, size, "%s %s", entry->subject, entry->text);
}

void journal_print(const struct journal *journal, FILE *to)
{
    for (unsigned i = 0; i < journal->count; i++) {
        char line[200];
        print(&journal->entry[i], line, sizeof line);
        fprintf(to, "  %s\n", line);
    }
}

/* ---- One event ---- */

/* How many words name the subject: "a", "peer a". */
static unsigned subject_words(const struct words *words)
{
    return words->count > 2 && strcmp(words->word[0], "peer") == 0 ? 2 : 1;
}

static void subject_of(const struct words *words, char *buf, size_t size)
{
    if (subject_words(words) == 2)
        snprintf(buf, size, "peer %s", words->word[1]);
    else
        snprintf(buf, size, "%s", words->word[0]);
}

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) {
        bool begins = at == text || at[-1] == ' ';
        if (begins && (at[len] == 0 || at[len] == ' ')) return true;
    }
    return false;
}

/* The first word has to be the event's own, the others to be somewhere in it. */
static enum journal_verdict compare_one(const struct entry *entry, const struct words *words)
{
    unsigned first = subject_words(words);
    const char *name = words->count > first ? words->word[first] : "";
    size_t len = strlen(name);
    if (strncmp(entry->text, name, len) != 0 || (entry->text[len] && entry->text[len] != ' '))
        return JOURNAL_DIFFERS;
    if (entry->is_bytes) {
        if (words->count != first + 2) return JOURNAL_DIFFERS;
        if (strcmp(words->word[first + 1], "*") == 0) return JOURNAL_MATCHES;
        uint64_t bytes = strtoull(words->word[first + 1], NULL, 10);
        if (entry->bytes == bytes) return JOURNAL_MATCHES;
        return entry->bytes < bytes ? JOURNAL_LACKS : JOURNAL_DIFFERS;
    }
    for (unsigned i = first + 1; i < words->count; i++)
        if (!has_word(entry->text, words->word[i])) return JOURNAL_DIFFERS;
    return JOURNAL_MATCHES;
}

/* ---- All of a step ---- */

static bool same_sequence(const struct entry *entry, const struct words *words)
{
    char subject[ENTRY_SUBJECT_MAX];
    unsigned first = subject_words(words);
    subject_of(words, subject, sizeof subject);
    if (strcmp(entry->subject, subject) != 0) return false;
    return is_sent(entry->text) == (words->count > first && is_sent(words->word[first]));
}

static struct entry *next_of(struct journal *journal, const struct words *words)
{
    for (unsigned i = 0; i < journal->count; i++) {
        struct entry *entry = &journal->entry[i];
        if (!entry->expected && same_sequence(entry, words)) return entry;
    }
    return NULL;
}

/* "data *": as many as there are, or none. */
static bool is_optional(const struct words *words)
{
    return words->count && strcmp(words->word[words->count - 1], "*") == 0;
}

enum journal_verdict journal_compare(struct journal *journal, const struct step *step, char *why,
                                     size_t why_bytes)
{
    enum journal_verdict verdict = JOURNAL_MATCHES;
    char line[200];
    for (unsigned i = 0; i < journal->count; i++) journal->entry[i].expected = 0;
    for (unsigned i = 0; i < step->expects; i++) {
        const struct words *words = &step->expect[i];
        if (!script_meant_for(words->ports, journal->port)) continue;
        struct entry *entry = next_of(journal, words);
        if (is_optional(words) && (!entry || !entry->is_bytes)) continue;
        enum journal_verdict one = entry ? compare_one(entry, words) : JOURNAL_LACKS;
        if (entry) entry->expected = words->line;
        if (one == JOURNAL_MATCHES) continue;
        if (entry)
            print(entry, line, sizeof line);
        else
            snprintf(line, sizeof line, "nothing");
        if (verdict == JOURNAL_MATCHES || one == JOURNAL_DIFFERS)
            snprintf(why, why_bytes, "line %u is not what came: %s", words->line, line);
        verdict = one;
        if (one == JOURNAL_DIFFERS) return one;
    }
    for (unsigned i = 0; i < journal->count; i++) {
        if (journal->entry[i].expected) continue;
        print(&journal->entry[i], line, sizeof line);
        snprintf(why, why_bytes, "after line %u came what is not there: %s", step->line, line);
        return JOURNAL_DIFFERS;
    }
    return verdict;
}
