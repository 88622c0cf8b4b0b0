/* Sallyport: dispatch, from a message's key to a function.
 *
 * Most protocols begin a message with what is wanted: a number in its header, or the first word of
 * a line. A table says which function serves which key:
 *
 *     static const sally_command commands[] = {
 *         {.word = "ECHO", .run = echo},
 *         {.word = "QUIT", .run = quit},
 *     };
 *     sally_dispatch_options options = {.key = SALLY_KEY_WORD, .any_case = true,
 *                                       .commands = commands, .count = 2};
 *     if (sally_dispatch_create(&table, &options)) return 1;
 *     ... and in on_message: sally_dispatch_message(table, conn, data, len);
 *
 * The key is
 *   a number  of 1, 2, 4 or 8 bytes, anywhere in the message
 *   a word    from the message's first byte to the first blank (space or tab) or the end
 * and what follows it, without that one blank, is what the function gets.
 *
 * Filters. Up to 8 pairs of functions stand around every command, such as "has it logged in?", a
 * count or a clock. `before` runs in the order of the array and may refuse; then neither the later
 * filters nor the command run. `after` runs in reverse, for each filter whose `before` had nothing
 * against it, so the two are always a pair. A refusal by itself neither closes nor answers.
 *
 * Bad input. A message too short for its key, or that begins with a blank, and one with an unknown
 * key when there is no `unknown`, closes the connection with SALLY_CLOSE_MALFORMED and is a strike
 * (sally_admission), as what its framing can't read.
 *
 * Threads. A table never changes: any threads may use it at the same time, and its functions run on
 * the connection's shard. It has no lock and counts nothing. */
#ifndef SALLYPORT_DISPATCH_H
#define SALLYPORT_DISPATCH_H

#include "sallyport.h"

#if defined(__cplusplus)
extern "C" {
#endif

enum {
    SALLY_COMMANDS_MAX = 65536, /* of a table */
    SALLY_COMMAND_FILTERS_MAX = 8,
    SALLY_WORD_MAX = 64, /* bytes of a key that is a word; a longer one is unknown */
};

typedef struct sally_dispatch sally_dispatch;

/* Serves one message. `data` is readable until it returns; len may be 0. It may do with the
 * connection whatever on_message may. */
typedef void (*sally_command_fn)(sally_conn *conn, const void *data, size_t len, void *user);

typedef struct sally_command {
    uint64_t key;         /* with SALLY_KEY_NUMBER; one that fits in key_bytes */
    const char *word;     /* with SALLY_KEY_WORD: 1 to SALLY_WORD_MAX bytes, no space, no tab */
    sally_command_fn run; /* not NULL */
    void *user;           /* for `run` */
} sally_command;

/* What a filter is told. Readable until the filter returns. */
typedef struct sally_command_call {
    const sally_command *command; /* as in the table's copy; NULL: the key is unknown */
    const void *message;          /* all of it, with the key */
    size_t len;
    int refused; /* in `after`: 0, or what the filter said that refused */
} sally_command_call;

typedef struct sally_command_filter {
    /* 0: go on. Anything else refuses, and is what sally_dispatch_message returns. NULL: 0. */
    int (*before)(sally_conn *conn, const sally_command_call *call, void *user);
    void (*after)(sally_conn *conn, const sally_command_call *call, void *user); /* may be NULL */
    void *user;
} sally_command_filter;

typedef enum sally_key_kind { SALLY_KEY_NUMBER, SALLY_KEY_WORD } sally_key_kind;

typedef struct sally_dispatch_options {
    sally_key_kind key;

    /* SALLY_KEY_NUMBER */
    uint32_t key_offset; /* of its first byte in the message */
    uint32_t key_bytes;  /* 1, 2, 4 or 8; 0: 1 */
    bool little_endian;  /* its lowest byte comes first */

    /* SALLY_KEY_WORD */
    bool any_case; /* "echo" is "ECHO"; the letters of ASCII alone */

    bool keep_key; /* commands get the whole message: for what stands before the key */
    const sally_command *commands;
    uint32_t count;           /* 1 to SALLY_COMMANDS_MAX */
    sally_command_fn unknown; /* gets the whole message; filters stand around it, too. NULL: an
                                 unknown key is malformed */
    void *unknown_user;
    const sally_command_filter *filters;
    uint32_t filter_count;     /* at most SALLY_COMMAND_FILTERS_MAX */
    sally_allocator allocator; /* zero: the C library's */
} sally_dispatch_options;

/* Makes a table; everything is copied, words too. SALLY_EINVAL for what contradicts itself: a key
 * twice (with any_case: in any case), a number that its bytes can't hold, a word that no message
 * can begin with, a command without function. SALLY_ELIMIT (count, filter_count), SALLY_ENOMEM.
 * [any] */
SALLY_API int sally_dispatch_create(sally_dispatch **dispatch,
                                    const sally_dispatch_options *options) SALLY_MUST_USE;

/* Frees it, when nobody uses it any more: not inside one of its functions, and after the engines
 * whose handlers do. NULL does nothing. [any] */
SALLY_API void sally_dispatch_destroy(sally_dispatch *dispatch);

/* Runs what the message asks for, before it returns; for on_message, and for on_data where that is
 * whole messages. 0: it ran. What a filter said, when one refused. SALLY_EMALFORMED: the connection
 * is closed for it, and nothing ran. SALLY_ECLOSED: the connection was closed already, or by a
 * filter, and the command did not run. SALLY_EINVAL. It takes O(log count). [shard] */
SALLY_API int sally_dispatch_message(const sally_dispatch *dispatch, sally_conn *conn,
                                     const void *data, size_t len);

#if defined(__cplusplus)
}
#endif
#endif
