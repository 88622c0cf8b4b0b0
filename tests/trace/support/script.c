/* Reading of scenario files; see script.h. */
#include "trace/support/script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 20 };

static void wrong(struct script *script, unsigned line, const char *what)
{
    if (!script->wrong[0]) snprintf(script->wrong, sizeof script->wrong, "line %u: %s", line, what);
}

/* Words are divided by blanks; a comma is a word of its own. */
static void split(struct script *script, struct words *words, char *text)
{
    for (char *at = text; *at;) {
        if (*at == ' ') {
            *at++ = 0;
            continue;
        }
        if (words->count == WORDS_MAX) {
            wrong(script, words->line, "too many words");
            return;
        }
        if (*at == '@') {
            words->ports = at + 1;
            at += strcspn(at, " ");
            continue;
        }
        bool comma = *at == ',';
        words->word[words->count++] = comma ? "," : at;
        at += comma ? 1 : strcspn(at, " ");
        if (comma || at[-1] != ',') continue;
        at[-1] = 0;
        if (words->count < WORDS_MAX) words->word[words->count++] = ",";
    }
}

static void read_commands(struct script *script, struct step *step, char *text)
{
    for (char *next; text; text = next) {
        next = strstr(text, " ; ");
        if (next) {
            *next = 0;
            next += 3;
        }
        if (step->commands == COMMANDS_MAX) {
            wrong(script, step->line, "too many commands");
            return;
        }
        struct words *words = &step->command[step->commands++];
        words->line = step->line;
        split(script, words, text);
        if (!words->count) wrong(script, step->line, "a command without a word");
    }
}

static void read_expect(struct script *script, unsigned line, char *text)
{
    struct step *step = script->steps ? &script->step[script->steps - 1] : NULL;
    if (!step) {
        wrong(script, line, "an event before the first command");
    } else if (step->expects == EXPECTS_MAX) {
        wrong(script, line, "too many events");
    } else {
        struct words *words = &step->expect[step->expects++];
        words->line = line;
        split(script, words, text);
    }
}

static void read_skip(struct script *script, unsigned line, char *text)
{
    char *reason = strchr(text, ' ');
    if (!reason || script->skip_ports) {
        wrong(script, line, "skip needs ports and the reason, once");
        return;
    }
    *reason = 0;
    script->skip_ports = text;
    script->skip_reason = reason + 1;
}

/* A line for some ports only has to say why, in the comment before it. */
static void read_line(struct script *script, unsigned line, char *text, bool after_comment)
{
    if (strstr(text, " @") && !after_comment) wrong(script, line, "@ needs a reason in a # before");
    if (strncmp(text, "proves ", 7) == 0) {
        if (script->proves) wrong(script, line, "proves comes once");
        script->proves = text + 7;
    } else if (strncmp(text, "skip ", 5) == 0) {
        read_skip(script, line, text + 5);
    } else if (*text == ' ') {
        read_expect(script, line, text);
    } else if (script->steps == STEPS_MAX) {
        wrong(script, line, "too many steps");
    } else {
        struct step *step = &script->step[script->steps++];
        step->line = line;
        read_commands(script, step, text);
    }
}

struct script *script_read(char *text)
{
    struct script *script = calloc(1, sizeof *script);
    if (script) script->step = calloc(STEPS_MAX, sizeof *script->step);
    if (!script || !script->step) abort();
    script->text = text;
    bool after_comment = false;
    unsigned line = 1;
    for (char *at = text; at && *at; line++) {
        char *end = strchr(at, '\n');
        char *next = end ? end + 1 : NULL;
        if (!end) end = at + strlen(at);
        while (end > at && (end[-1] == ' ' || end[-1] == '\r')) end--;
        *end = 0;
        bool comment = *at == '#';
        bool for_some = strstr(at, " @") != NULL;
        if (*at && !comment) read_line(script, line, at, after_comment);
        /* the comment counts for all such lines that follow it */
        after_comment = comment || (after_comment && for_some);
        at = next;
    }
    if (!script->proves) wrong(script, 1, "it doesn't say what it proves");
    if (!script->steps) wrong(script, line, "nothing happens");
    return script;
}

void script_free(struct script *script)
{
    if (!script) return;
    free(script->step);
    free(script->text);
    free(script);
}

char *script_load(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    char *text = calloc(1, FILE_BYTES_MAX);
    size_t len = text ? fread(text, 1, FILE_BYTES_MAX - 1, file) : 0;
    fclose(file);
    if (len) return text;
    free(text);
    return NULL;
}

bool script_meant_for(const char *ports, const char *port)
{
    if (!ports) return true;
    bool others = *ports == '!';
    bool named = false;
    size_t len = strlen(port);
    for (const char *at = ports + others; *at;) {
        size_t n = strcspn(at, ",");
        /* "uring" means all ways of it: "uring_plain" too */
        named |= n <= len && strncmp(at, port, n) == 0 && (port[n] == 0 || port[n] == '_');
        at += n + (at[n] == ',');
    }
    return named != others;
}
