/* The tables of sallyport/dispatch.h: commands sorted by key, and the filters around them. One
 * block of memory, made by create and its owner's; nothing in it changes after that, so any thread
 * may read it. */
#include "sallyport/dispatch.h"

#include <stdlib.h>
#include <string.h>

#include "base/ascii.h"
#include "base/mem.h"
#include "net/conn.h"

enum { BYTE_BITS = 8 };

/* What a message begins with, or a command is found by. */
struct key {
    const char *word;
    size_t word_len;
    uint64_t number;
};

struct entry {
    struct key key;
    sally_command command;
};

struct sally_dispatch {
    struct mem mem;
    size_t bytes; /* of this block */
    sally_dispatch_options options;
    sally_command_filter filters[SALLY_COMMAND_FILTERS_MAX];
    struct entry entries[]; /* sorted; the words lie behind them */
};

/* ---- Keys ---- */

static int words_compare(const struct key *a, const struct key *b, bool any_case)
{
    if (a->word_len != b->word_len) return a->word_len < b->word_len ? -1 : 1;
    if (!any_case) return memcmp(a->word, b->word, a->word_len);
    for (size_t i = 0; i < a->word_len; i++) {
        int difference = ascii_lower(a->word[i]) - ascii_lower(b->word[i]);
        if (difference) return difference;
    }
    return 0;
}

static int numbers_compare(const void *a, const void *b)
{
    uint64_t left = ((const struct entry *)a)->key.number;
    uint64_t right = ((const struct entry *)b)->key.number;
    return (left > right) - (left < right);
}

static int exact_compare(const void *a, const void *b)
{
    return words_compare(&((const struct entry *)a)->key, &((const struct entry *)b)->key, false);
}

static int folded_compare(const void *a, const void *b)
{
    return words_compare(&((const struct entry *)a)->key, &((const struct entry *)b)->key, true);
}

typedef int (*compare_fn)(const void *a, const void *b);

static compare_fn compare_of(const sally_dispatch_options *options)
{
    if (options->key == SALLY_KEY_NUMBER) return numbers_compare;
    return options->any_case ? folded_compare : exact_compare;
}

static bool number_read(const sally_dispatch_options *options, const unsigned char *data,
                        size_t len, struct key *key, size_t *end)
{
    uint32_t bytes = options->key_bytes;
    if (len < bytes || len - bytes < options->key_offset) return false;
    data += options->key_offset;
    key->number = 0;
    for (uint32_t i = 0; i < bytes; i++)
        key->number = key->number << BYTE_BITS | data[options->little_endian ? bytes - 1 - i : i];
    *end = (size_t)options->key_offset + bytes;
    return true;
}

static bool word_read(const char *data, size_t len, struct key *key, size_t *end)
{
    size_t at = 0;
    /* a longer one is in no table, so its end is of no use */
    while (at < len && at <= SALLY_WORD_MAX && !ascii_is_blank(data[at])) at++;
    key->word = data;
    key->word_len = at;
    *end = at < len && ascii_is_blank(data[at]) ? at + 1 : at;
    return at > 0;
}

/* ---- Create ---- */

static bool command_is_valid(const sally_dispatch_options *options, const sally_command *command)
{
    if (!command->run) return false;
    if (options->key == SALLY_KEY_NUMBER)
        return options->key_bytes == sizeof command->key ||
               command->key >> (BYTE_BITS * options->key_bytes) == 0;
    if (!command->word) return false;
    size_t len = strnlen(command->word, SALLY_WORD_MAX + 1);
    return len && len <= SALLY_WORD_MAX && !memchr(command->word, ' ', len) &&
           !memchr(command->word, '\t', len);
}

/* Fills in the default. */
static int options_judge(sally_dispatch_options *options)
{
    if (!options->key_bytes) options->key_bytes = 1;
    uint32_t bytes = options->key_bytes;
    if ((unsigned)options->key > SALLY_KEY_WORD || !options->commands || !options->count)
        return SALLY_EINVAL;
    if (bytes > 8 || (bytes & (bytes - 1))) return SALLY_EINVAL;
    if (options->filter_count && !options->filters) return SALLY_EINVAL;
    if (options->count > SALLY_COMMANDS_MAX || options->filter_count > SALLY_COMMAND_FILTERS_MAX)
        return SALLY_ELIMIT;
    for (uint32_t i = 0; i < options->count; i++)
        if (!command_is_valid(options, &options->commands[i])) return SALLY_EINVAL;
    return 0;
}

static size_t bytes_needed(const sally_dispatch_options *options)
{
    size_t bytes = sizeof(sally_dispatch) + options->count * sizeof(struct entry);
    for (uint32_t i = 0; options->key == SALLY_KEY_WORD && i < options->count; i++)
        bytes += strlen(options->commands[i].word) + 1;
    return bytes;
}

static void entries_fill(sally_dispatch *dispatch)
{
    const sally_dispatch_options *options = &dispatch->options;
    char *words = (char *)&dispatch->entries[options->count];
    for (uint32_t i = 0; i < options->count; i++) {
        struct entry *entry = &dispatch->entries[i];
        entry->command = options->commands[i];
        entry->key.number = entry->command.key;
        if (options->key == SALLY_KEY_NUMBER) {
            entry->command.word = NULL;
            continue;
        }
        size_t len = strlen(entry->command.word);
        memcpy(words, entry->command.word, len + 1);
        entry->key.word_len = len;
        entry->key.word = entry->command.word = words;
        words += len + 1;
    }
    qsort(dispatch->entries, options->count, sizeof dispatch->entries[0], compare_of(options));
}

static bool has_twins(const sally_dispatch *dispatch)
{
    compare_fn compare = compare_of(&dispatch->options);
    for (uint32_t i = 1; i < dispatch->options.count; i++)
        if (compare(&dispatch->entries[i - 1], &dispatch->entries[i]) == 0) return true;
    return false;
}

int sally_dispatch_create(sally_dispatch **out, const sally_dispatch_options *given)
{
    if (!out || !given) return SALLY_EINVAL;
    sally_dispatch_options options = *given;
    struct mem mem;
    int err = mem_init_hooked(&mem, &options.allocator);
    if (!err) err = options_judge(&options);
    if (err) return err;
    size_t bytes = bytes_needed(&options);
    sally_dispatch *dispatch = mem.alloc(mem.user, bytes);
    if (!dispatch) return SALLY_ENOMEM;
    memset(dispatch, 0, bytes);
    dispatch->mem = mem;
    dispatch->bytes = bytes;
    dispatch->options = options;
    if (options.filter_count)
        memcpy(dispatch->filters, options.filters, options.filter_count * sizeof *options.filters);
    entries_fill(dispatch);
    dispatch->options.commands = NULL; /* the caller's, and may go */
    dispatch->options.filters = NULL;
    if (has_twins(dispatch)) {
        sally_dispatch_destroy(dispatch);
        return SALLY_EINVAL;
    }
    *out = dispatch;
    return 0;
}

void sally_dispatch_destroy(sally_dispatch *dispatch)
{
    if (!dispatch) return;
    struct mem mem = dispatch->mem;
    mem.free(mem.user, dispatch, dispatch->bytes);
}

/* ---- One message ---- */

/* Between the filters. */
static void call_run(const sally_dispatch *dispatch, sally_conn *conn,
                     const sally_command_call *call, size_t key_end)
{
    const char *message = call->message;
    if (!call->command)
        dispatch->options.unknown(conn, message, call->len, dispatch->options.unknown_user);
    else if (dispatch->options.keep_key)
        call->command->run(conn, message, call->len, call->command->user);
    else
        call->command->run(conn, message + key_end, call->len - key_end, call->command->user);
}

static int call_filtered(const sally_dispatch *dispatch, sally_conn *conn, sally_command_call *call,
                         size_t key_end)
{
    const sally_command_filter *filters = dispatch->filters;
    uint32_t passed = 0;
    int refused = 0;
    while (passed < dispatch->options.filter_count && !refused) {
        const sally_command_filter *filter = &filters[passed];
        if (filter->before) refused = filter->before(conn, call, filter->user);
        if (!refused) passed++;
        if (!refused && conn->state != CONN_OPEN) refused = SALLY_ECLOSED;
    }
    if (!refused) call_run(dispatch, conn, call, key_end);
    call->refused = refused;
    while (passed--)
        if (filters[passed].after) filters[passed].after(conn, call, filters[passed].user);
    return refused;
}

int sally_dispatch_message(const sally_dispatch *dispatch, sally_conn *conn, const void *data,
                           size_t len)
{
    if (!dispatch || !conn_here(conn) || (!data && len)) return SALLY_EINVAL;
    if (conn->state != CONN_OPEN) return SALLY_ECLOSED;
    const sally_dispatch_options *options = &dispatch->options;
    struct entry wanted = {0};
    size_t key_end = 0;
    const struct entry *found = NULL;
    bool has_key = options->key == SALLY_KEY_NUMBER
                       ? number_read(options, data, len, &wanted.key, &key_end)
                       : word_read(data, len, &wanted.key, &key_end);
    if (has_key)
        found =
            bsearch(&wanted, dispatch->entries, options->count, sizeof *found, compare_of(options));
    if (!has_key || (!found && !options->unknown)) {
        conn_refuse_message(conn, SALLY_EMALFORMED);
        return SALLY_EMALFORMED;
    }
    sally_command_call call = {
        .command = found ? &found->command : NULL, .message = data, .len = len};
    return call_filtered(dispatch, conn, &call, key_end);
}
