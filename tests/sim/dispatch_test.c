/* From a message's key to a function (P-55): which is found, what it gets, what filters see and may
 * stop, and what becomes of who sends what is no command. One simulated server, one table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sallyport/dispatch.h"
#include "sallyport/framing.h"
#include "sim/support/world.h"
#include "support/long.h"
#include "support/lot.h"

enum { STORY_MAX = 256, REFUSAL = 7 };

static const sally_framing lines = {.kind = SALLY_FRAMING_LINE};
static const sally_framing frames = {.kind = SALLY_FRAMING_LENGTH, .length_bytes = 1};

/* What happened, in order, as text. */
static struct {
    sally_dispatch *table;
    char story[STORY_MAX];
    bool twice; /* each message is given to the table twice */
    int told;   /* by sally_dispatch_message, the last time */
    sally_close_reason reason;
    int error;
} seen;

static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void tell(const char *format, ...)
{
    size_t len = strlen(seen.story);
    va_list args;
    va_start(args, format);
    vsnprintf(seen.story + len, sizeof seen.story - len, format, args);
    va_end(args);
}

static void run_named(sally_conn *conn, const void *data, size_t len, void *user)
{
    (void)conn;
    tell("%s[%.*s]", (const char *)user, (int)len, (const char *)data);
}

static void run_quit(sally_conn *conn, const void *data, size_t len, void *user)
{
    run_named(conn, data, len, user);
    assert_int_equal(sally_conn_close(conn), 0);
}

static void on_open(sally_conn *conn)
{
    (void)conn;
    world.opened++;
}

static void on_message(sally_conn *conn, const void *data, size_t len)
{
    seen.told = sally_dispatch_message(seen.table, conn, data, len);
    if (seen.twice) seen.told = sally_dispatch_message(seen.table, conn, data, len);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    (void)conn;
    world.closed++;
    seen.reason = info->reason;
    seen.error = info->error;
}

/* ---- Filters: 'b' and 'a' with their letter, '?' for an unknown command ---- */

struct guard {
    char letter;
    int says;    /* by before */
    bool closes; /* in before */
};

static int guard_before(sally_conn *conn, const sally_command_call *call, void *user)
{
    const struct guard *guard = user;
    tell("b%c%s", guard->letter, call->command ? "" : "?");
    assert_int_equal(call->refused, 0);
    assert_true(call->len > 0 && call->message != NULL);
    if (guard->closes) assert_int_equal(sally_conn_close(conn), 0);
    return guard->says;
}

static void guard_after(sally_conn *conn, const sally_command_call *call, void *user)
{
    const struct guard *guard = user;
    (void)conn;
    tell("a%c", guard->letter);
    if (call->refused) tell("=%d", call->refused);
}

/* ---- One server, one peer ---- */

static sally_sim_peer *begin(const sally_dispatch_options *options, const sally_framing *framing)
{
    static const sally_handler handler = {
        .on_open = on_open, .on_message = on_message, .on_close = on_close};
    memset(&seen, 0, sizeof seen);
    assert_int_equal(sally_dispatch_create(&seen.table, options), 0);
    world_prepare(1);
    world.admission.strikes = (sally_strike_options){.max = 1, .ban_s = 100};
    world.options.conn.framing = framing;
    assert_int_equal(world_begin(&handler, 1), 0);
    sally_sim_peer *peer = sally_sim_dial(world.sim, SERVER);
    run_ms(100);
    assert_int_equal(world.opened, 1);
    return peer;
}

static void end(void)
{
    world_end();
    sally_dispatch_destroy(seen.table);
}

static void says(sally_sim_peer *peer, const void *data, size_t len, const char *story)
{
    seen.story[0] = 0;
    assert_int_equal(sally_sim_peer_write(peer, data, len), len);
    run_ms(1000);
    assert_string_equal(seen.story, story);
}

static void writes(sally_sim_peer *peer, const char *text, const char *story)
{
    says(peer, text, strlen(text), story);
}

static void is_refused(sally_sim_peer *peer, const void *data, size_t len)
{
    says(peer, data, len, "");
    assert_int_equal(seen.told, SALLY_EMALFORMED);
    run_ms(60000);
    assert_int_equal(world.closed, 1);
    assert_int_equal(seen.reason, SALLY_CLOSE_MALFORMED);
    assert_int_equal(seen.error, SALLY_EMALFORMED);
    assert_int_equal(admission_stats().strike_bans, 1);
}

/* ---- Words ---- */

static const sally_command words[] = {
    {.word = "SET", .run = run_named, .user = "set"},
    {.word = "GET", .run = run_named, .user = "get"},
    {.word = "get", .run = run_named, .user = "small get"},
    {.word = "GETALL", .run = run_named, .user = "getall"},
    {.word = "Q", .run = run_quit, .user = "quit"},
    {.word = "\xc3\x84=/", .run = run_named, .user = "odd"},
};
static const sally_dispatch_options exact = {
    .key = SALLY_KEY_WORD, .commands = words, .count = sizeof words / sizeof *words};

static void the_first_word_finds_its_command(void **state)
{
    (void)state;
    sally_sim_peer *peer = begin(&exact, &lines);
    writes(peer, "SET a 1\n", "set[a 1]");
    writes(peer, "GET a\r\nget a\nGETALL\n", "get[a]small get[a]getall[]");
    writes(peer, "GET\ta\nGET  a \n", "get[a]get[ a ]"); /* one blank, no more */
    writes(peer, "GET \n\xc3\x84=/ x\n", "get[]odd[x]");
    assert_int_equal(seen.told, 0);
    writes(peer, "Q bye\nSET a 1\n", "quit[bye]"); /* as after any close */
    sally_sim_peer_finish(peer);
    run_ms(1000);
    assert_int_equal(seen.reason, SALLY_CLOSE_LOCAL);
    end();
}

static void a_closed_connection_runs_nothing(void **state)
{
    (void)state;
    sally_sim_peer *peer = begin(&exact, &lines);
    seen.twice = true;
    writes(peer, "GET\n", "get[]get[]");
    assert_int_equal(seen.told, 0);
    writes(peer, "Q\n", "quit[]");
    assert_int_equal(seen.told, SALLY_ECLOSED);
    end();
}

static void in_any_case_letters_are_equal_and_nothing_else(void **state)
{
    (void)state;
    static const sally_command commands[] = {{.word = "Get", .run = run_named, .user = "get"},
                                             {.word = "a[", .run = run_named, .user = "a["},
                                             {.word = "a`", .run = run_named, .user = "a`"},
                                             {.word = "\xc3\xa4", .run = run_named, .user = "ae"}};
    sally_dispatch_options options = {.key = SALLY_KEY_WORD,
                                      .any_case = true,
                                      .commands = commands,
                                      .count = 4,
                                      .unknown = run_named,
                                      .unknown_user = "?"};
    sally_sim_peer *peer = begin(&options, &lines);
    writes(peer, "GET A\ngeT\n", "get[A]get[]");
    writes(peer, "A[\na{\nA{ \n", "a[[]?[a{]?[A{ ]"); /* [ and { differ as letters' cases do */
    writes(peer, "a@\nA`\n", "?[a@]a`[]");
    writes(peer, "\xc3\xa4 x\n\xc3\x84\n", "ae[x]?[\xc3\x84]");
    writes(peer, "\xe3\xa4 x\n", "?[\xe3\xa4 x]");
    end();
}

static void a_word_has_a_longest(void **state)
{
    (void)state;
    char longest[SALLY_WORD_MAX + 1], story[STORY_MAX], text[STORY_MAX];
    memset(longest, 'x', SALLY_WORD_MAX);
    longest[SALLY_WORD_MAX] = 0;
    const sally_command commands[] = {{.word = longest, .run = run_named, .user = "long"}};
    sally_dispatch_options options = {.key = SALLY_KEY_WORD,
                                      .commands = commands,
                                      .count = 1,
                                      .unknown = run_named,
                                      .unknown_user = "?"};
    sally_sim_peer *peer = begin(&options, &lines);
    memset(longest, 'y', SALLY_WORD_MAX); /* the table has its own */
    memset(text, 'x', SALLY_WORD_MAX);
    snprintf(text + SALLY_WORD_MAX, sizeof text - SALLY_WORD_MAX, " a\n");
    writes(peer, text, "long[a]");
    memset(longest, 'x', SALLY_WORD_MAX);
    snprintf(text, sizeof text, "%sx a\n", longest);
    snprintf(story, sizeof story, "?[%sx a]", longest);
    writes(peer, text, story);
    end();
}

static void what_begins_with_no_word_is_malformed(void **state)
{
    (void)state;
    static const char *const texts[] = {"\n", " GET a\n", "\tGET a\n", "  \n"};
    sally_dispatch_options options = exact;
    options.unknown = run_named; /* it is asked about keys alone */
    options.unknown_user = "?";
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        sally_sim_peer *peer = begin(&options, &lines);
        is_refused(peer, texts[i], strlen(texts[i]));
        end();
    }
}

static void an_unknown_key_is_malformed_and_a_strike(void **state)
{
    (void)state;
    static const char *const texts[] = {"FLY\n", "Get a\n", "GE\n", "GETA\n", "GET\vb\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        sally_sim_peer *peer = begin(&exact, &lines);
        is_refused(peer, texts[i], strlen(texts[i]));
        end();
    }
}

/* ---- Numbers ---- */

static void a_number_may_lie_anywhere_and_either_way_round(void **state)
{
    (void)state;
    static const sally_command commands[] = {
        {.key = 0x01020304, .run = run_named, .user = "up"},
        {.key = 0x04030201, .run = run_named, .user = "down"},
        {.key = 0, .run = run_named, .user = "zero"},
        {.key = 0xffffffff, .run = run_named, .user = "all"},
    };
    sally_dispatch_options options = {
        .key_bytes = 4, .key_offset = 2, .commands = commands, .count = 4};
    sally_sim_peer *peer = begin(&options, &frames);
    says(peer, "\x09hh\1\2\3\4abc", 10, "up[abc]");
    says(peer, "\x06hh\4\3\2\1", 7, "down[]");
    says(peer, "\x07--\0\0\0\0x", 8, "zero[x]");
    says(peer, "\x07--\xff\xff\xff\xffx", 8, "all[x]");
    end();
    options.little_endian = true;
    options.keep_key = true;
    peer = begin(&options, &frames);
    says(peer, "\x07hh\4\3\2\1a", 8, "up[hh\4\3\2\1a]");
    says(peer, "\x07hh\1\2\3\4a", 8, "down[hh\1\2\3\4a]");
    end();
}

static void a_number_has_all_its_bytes(void **state)
{
    (void)state;
    static const uint64_t keys[] = {0x81, 0x8182, 0x81828384, 0x8182838485868788};
    static const char bytes[] = "\x81\x82\x83\x84\x85\x86\x87\x88";
    for (unsigned i = 0; i < 4; i++) {
        const sally_command commands[] = {{.key = keys[i], .run = run_named, .user = "it"}};
        sally_dispatch_options options = {
            .key_bytes = i ? 1u << i : 0, .commands = commands, .count = 1, .unknown = run_named};
        char message[16] = {(char)((1 << i) + 1)};
        memcpy(message + 1, bytes, 8);
        message[1 + (1 << i)] = '!';
        sally_sim_peer *peer = begin(&options, &frames);
        says(peer, message, 2 + (1u << i), "it[!]");
        message[0] = (char)((1 << i) - 1); /* one byte too short */
        is_refused(peer, message, (size_t)message[0] + 1);
        end();
    }
}

/* ---- Filters ---- */

static struct guard guards[3];

static sally_dispatch_options guarded(unsigned count)
{
    static sally_command_filter filters[3];
    sally_dispatch_options options = exact;
    for (unsigned i = 0; i < 3; i++) {
        guards[i] = (struct guard){.letter = (char)('1' + i)};
        filters[i] = (sally_command_filter){guard_before, guard_after, &guards[i]};
    }
    options.filters = filters;
    options.filter_count = count;
    return options;
}

static void filters_stand_around_each_command(void **state)
{
    (void)state;
    sally_dispatch_options options = guarded(3);
    options.unknown = run_named;
    options.unknown_user = "?";
    sally_sim_peer *peer = begin(&options, &lines);
    writes(peer, "SET x\n", "b1b2b3set[x]a3a2a1");
    writes(peer, "FLY x\n", "b1?b2?b3??[FLY x]a3a2a1");
    writes(peer, "Q\n", "b1b2b3quit[]a3a2a1"); /* also around one that closes */
    end();
}

static void a_filter_may_refuse(void **state)
{
    (void)state;
    sally_dispatch_options options = guarded(3);
    sally_sim_peer *peer = begin(&options, &lines);
    guards[1].says = REFUSAL;
    writes(peer, "SET x\n", "b1b2a1=7");
    assert_int_equal(seen.told, REFUSAL);
    guards[1].says = 0;
    guards[0].says = -REFUSAL;
    writes(peer, "SET x\n", "b1");
    assert_int_equal(seen.told, -REFUSAL);
    guards[0].says = 0;
    writes(peer, "SET x\n", "b1b2b3set[x]a3a2a1"); /* nothing was closed */
    assert_int_equal(seen.told, 0);
    guards[1].closes = true;
    writes(peer, "SET x\nSET x\n", "b1b2a2=-1012a1=-1012");
    assert_int_equal(seen.told, SALLY_ECLOSED);
    sally_sim_peer_finish(peer);
    run_ms(1000);
    assert_int_equal(seen.reason, SALLY_CLOSE_LOCAL);
    assert_int_equal(admission_stats().strike_bans, 0);
    end();
}

static void filters_do_not_see_what_is_malformed(void **state)
{
    (void)state;
    sally_dispatch_options options = guarded(3);
    sally_sim_peer *peer = begin(&options, &lines);
    is_refused(peer, "FLY\n", 4);
    end();
}

static void either_half_of_a_filter_may_be_missing(void **state)
{
    (void)state;
    static struct guard guard = {.letter = 'x'};
    const sally_command_filter filters[] = {{NULL, guard_after, &guard},
                                            {guard_before, NULL, &guard}};
    sally_dispatch_options options = exact;
    options.filters = filters;
    options.filter_count = 2;
    sally_sim_peer *peer = begin(&options, &lines);
    writes(peer, "SET\n", "bxset[]ax");
    end();
}

/* ---- What makes no sense ---- */

static void refused_with(int wanted, sally_dispatch_options options)
{
    sally_dispatch *table = NULL;
    assert_int_equal(sally_dispatch_create(&table, &options), wanted);
    assert_null(table);
}

static void one_command_is(int wanted, sally_dispatch_options options, sally_command command)
{
    options.commands = &command;
    options.count = 1;
    sally_dispatch *table = NULL;
    assert_int_equal(sally_dispatch_create(&table, &options), wanted);
    assert_true((table != NULL) == (wanted == 0));
    sally_dispatch_destroy(table);
}

static void tables_that_contradict_themselves_are_refused(void **state)
{
    (void)state;
    const sally_dispatch_options word = {.key = SALLY_KEY_WORD};
    char longest[SALLY_WORD_MAX + 2];
    memset(longest, 'x', SALLY_WORD_MAX + 1);
    longest[SALLY_WORD_MAX + 1] = 0;
    one_command_is(SALLY_EINVAL, word, (sally_command){.word = "a"});
    one_command_is(SALLY_EINVAL, word, (sally_command){.run = run_named});
    one_command_is(SALLY_EINVAL, word, (sally_command){.word = "", .run = run_named});
    one_command_is(SALLY_EINVAL, word, (sally_command){.word = "a b", .run = run_named});
    one_command_is(SALLY_EINVAL, word, (sally_command){.word = "a\t", .run = run_named});
    one_command_is(SALLY_EINVAL, word, (sally_command){.word = longest, .run = run_named});
    one_command_is(0, word, (sally_command){.word = longest + 1, .run = run_named});
    for (uint32_t bytes = 1; bytes <= 8; bytes *= 2) {
        const sally_dispatch_options number = {.key_bytes = bytes};
        uint64_t most = UINT64_MAX >> (64 - 8 * bytes);
        one_command_is(0, number, (sally_command){.key = most, .run = run_named});
        if (bytes < 8)
            one_command_is(SALLY_EINVAL, number, (sally_command){most + 1, .run = run_named});
    }
    one_command_is(SALLY_EINVAL, (sally_dispatch_options){.key_bytes = 3},
                   (sally_command){.run = run_named});
    one_command_is(SALLY_EINVAL, (sally_dispatch_options){.key_bytes = 16},
                   (sally_command){.run = run_named});
    one_command_is(SALLY_EINVAL, (sally_dispatch_options){.key = (sally_key_kind)2},
                   (sally_command){.word = "a", .run = run_named});
    refused_with(SALLY_EINVAL, word);
    refused_with(SALLY_EINVAL, (sally_dispatch_options){.commands = words});
    assert_int_equal(sally_dispatch_create(NULL, &word), SALLY_EINVAL);
    assert_int_equal(sally_dispatch_create(&seen.table, NULL), SALLY_EINVAL);
    sally_dispatch_options options = guarded(SALLY_COMMAND_FILTERS_MAX + 1);
    refused_with(SALLY_ELIMIT, options);
    options.filter_count = 1;
    options.filters = NULL;
    refused_with(SALLY_EINVAL, options);
    options = exact;
    options.count = SALLY_COMMANDS_MAX + 1;
    refused_with(SALLY_ELIMIT, options);
    sally_dispatch_destroy(NULL);
}

static void a_key_twice_is_refused(void **state)
{
    (void)state;
    const sally_command twins[] = {{.key = 5, .word = "a", .run = run_named},
                                   {.key = 4, .word = "b", .run = run_named},
                                   {.key = 5, .word = "A", .run = run_named}};
    sally_dispatch_options options = {.commands = twins, .count = 3};
    refused_with(SALLY_EINVAL, options);
    options.key = SALLY_KEY_WORD;
    sally_dispatch *table;
    assert_int_equal(sally_dispatch_create(&table, &options), 0);
    sally_dispatch_destroy(table);
    options.any_case = true;
    refused_with(SALLY_EINVAL, options);
}

static void *no_memory(void *user, size_t bytes)
{
    *(size_t *)user += bytes;
    return NULL;
}

static void free_nothing(void *user, void *block, size_t bytes)
{
    (void)user;
    (void)block;
    (void)bytes;
    fail_msg("there is nothing to free");
}

static void without_memory_there_is_no_table(void **state)
{
    (void)state;
    size_t asked = 0;
    sally_dispatch_options options = exact;
    options.allocator = (sally_allocator){no_memory, free_nothing, &asked};
    refused_with(SALLY_ENOMEM, options);
    assert_true(asked > 0);
    options.allocator.free = NULL;
    refused_with(SALLY_EINVAL, options);
}

/* ---- Many keys ---- */

static uint64_t found_key;

static void run_found(sally_conn *conn, const void *data, size_t len, void *user)
{
    (void)conn;
    (void)data;
    (void)len;
    found_key = *(uint64_t *)user;
}

/* As many keys as there may be, drawn by the seed, each with a function that says which it is. */
static void each_of_many_keys_is_found_and_no_other(void **state)
{
    (void)state;
    struct lot lot = {run_seed(11)};
    unsigned count = long_form() ? SALLY_COMMANDS_MAX : 2000;
    sally_command *commands = calloc(count, sizeof *commands);
    uint64_t *keys = calloc(count, sizeof *keys);
    assert_true(commands && keys);
    for (unsigned i = 0; i < count; i++) {
        keys[i] = (uint64_t)lot_below(&lot, 1u << 16) << 32 | i; /* no two are equal */
        commands[i] = (sally_command){.key = keys[i], .run = run_found, .user = &keys[i]};
    }
    sally_dispatch_options options = {.key_bytes = 8, .commands = commands, .count = count};
    sally_sim_peer *peer = begin(&options, &frames);
    for (unsigned i = 0; i < count; i++) {
        char message[9] = {8};
        for (int byte = 0; byte < 8; byte++) message[1 + byte] = (char)(keys[i] >> (56 - 8 * byte));
        found_key = UINT64_MAX;
        assert_int_equal(sally_sim_peer_write(peer, message, sizeof message), sizeof message);
        run_ms(100);
        assert_true(found_key == keys[i]);
    }
    is_refused(peer, "\x08\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    end();
    free(commands);
    free(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_word_finds_its_command),
        cmocka_unit_test(a_closed_connection_runs_nothing),
        cmocka_unit_test(in_any_case_letters_are_equal_and_nothing_else),
        cmocka_unit_test(a_word_has_a_longest),
        cmocka_unit_test(what_begins_with_no_word_is_malformed),
        cmocka_unit_test(an_unknown_key_is_malformed_and_a_strike),
        cmocka_unit_test(a_number_may_lie_anywhere_and_either_way_round),
        cmocka_unit_test(a_number_has_all_its_bytes),
        cmocka_unit_test(filters_stand_around_each_command),
        cmocka_unit_test(a_filter_may_refuse),
        cmocka_unit_test(filters_do_not_see_what_is_malformed),
        cmocka_unit_test(either_half_of_a_filter_may_be_missing),
        cmocka_unit_test(tables_that_contradict_themselves_are_refused),
        cmocka_unit_test(a_key_twice_is_refused),
        cmocka_unit_test(without_memory_there_is_no_table),
        cmocka_unit_test(each_of_many_keys_is_found_and_no_other),
    };
    return cmocka_run_group_tests_name("dispatch", tests, NULL, NULL);
}
