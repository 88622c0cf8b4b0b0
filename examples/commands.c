/* Commands in lines of text, each a function of its own that a table finds by the first word:
 *
 *     LOGIN name      before anything else but QUIT; a filter sees to that
 *     ADD 1 2 3       the sum
 *     SAY something   the same again, with the name
 *     QUIT
 *
 * Try it with `nc 127.0.0.1 5004`. */
#include <sallyport/dispatch.h>
#include <sallyport/framing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 24, LINE_BYTES_MAX = 500, TEXT_BYTES_MAX = 400 };

struct client {
    char name[NAME_BYTES]; /* "": not yet logged in */
};

/* One line; whoever does not read its answers is given up. */
static void answer(sally_conn *conn, const char *text, size_t len)
{
    if (sally_conn_send_message(conn, text, len)) sally_conn_abort(conn);
}

static void answer_text(sally_conn *conn, const char *text) { answer(conn, text, strlen(text)); }

/* ---- Commands ---- */

static void login(sally_conn *conn, const void *data, size_t len, void *user)
{
    struct client *client = sally_conn_user(conn);
    (void)user;
    if (!len || len >= NAME_BYTES || memchr(data, 0, len)) {
        answer_text(conn, "a name of 1 to 23 bytes, please");
        return;
    }
    memcpy(client->name, data, len);
    client->name[len] = 0;
    answer_text(conn, "welcome");
}

static void add(sally_conn *conn, const void *data, size_t len, void *user)
{
    char text[LINE_BYTES_MAX + 1], *at = text;
    unsigned long long sum = 0;
    (void)user;
    memcpy(text, data, len); /* the framing lets no longer line in */
    text[len] = 0;
    for (char *end = at; *at; at = end + strspn(end, " ")) {
        sum += strtoull(at, &end, 10); /* too much of it wraps round */
        if (end != at) continue;
        answer_text(conn, "numbers, please");
        return;
    }
    snprintf(text, sizeof text, "%llu", sum);
    answer_text(conn, text);
}

static void say(sally_conn *conn, const void *data, size_t len, void *user)
{
    const struct client *client = sally_conn_user(conn);
    char text[NAME_BYTES + 2 + TEXT_BYTES_MAX];
    (void)user;
    if (len > TEXT_BYTES_MAX) { /* with the name it has to fit in a line, too */
        answer_text(conn, "too long");
        return;
    }
    int said = snprintf(text, sizeof text, "%s: ", client->name);
    memcpy(text + said, data, len);
    answer(conn, text, (size_t)said + len);
}

static void quit(sally_conn *conn, const void *data, size_t len, void *user)
{
    (void)data;
    (void)len;
    (void)user;
    answer_text(conn, "bye");
    sally_conn_close(conn);
}

static void unknown(sally_conn *conn, const void *data, size_t len, void *user)
{
    (void)data;
    (void)len;
    (void)user;
    answer_text(conn, "LOGIN, ADD, SAY or QUIT, please");
}

/* ---- The table ---- */

static int has_logged_in(sally_conn *conn, const sally_command_call *call, void *user)
{
    const struct client *client = sally_conn_user(conn);
    (void)user;
    if (client->name[0]) return 0;
    if (call->command && (call->command->run == login || call->command->run == quit)) return 0;
    answer_text(conn, "LOGIN first");
    return SALLY_EACCES;
}

static sally_dispatch *table_create(void)
{
    static const sally_command commands[] = {{.word = "LOGIN", .run = login},
                                             {.word = "ADD", .run = add},
                                             {.word = "SAY", .run = say},
                                             {.word = "QUIT", .run = quit}};
    static const sally_command_filter filters[] = {{.before = has_logged_in}};
    const sally_dispatch_options options = {.key = SALLY_KEY_WORD,
                                            .any_case = true,
                                            .commands = commands,
                                            .count = sizeof commands / sizeof *commands,
                                            .unknown = unknown,
                                            .filters = filters,
                                            .filter_count = 1};
    sally_dispatch *table = NULL;
    return sally_dispatch_create(&table, &options) ? NULL : table;
}

/* ---- Connections ---- */

static void on_open(sally_conn *conn)
{
    struct client *client = calloc(1, sizeof *client);
    if (!client) sally_conn_abort(conn);
    sally_conn_set_user(conn, client);
}

static void on_message(sally_conn *conn, const void *data, size_t len)
{
    const sally_dispatch *table = sally_server_user(sally_conn_server(conn));
    (void)sally_dispatch_message(table, conn, data, len); /* who was refused has been told */
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    (void)info;
    free(sally_conn_user(conn));
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:5004";
    sally_framing framing = {.kind = SALLY_FRAMING_LINE, .message_bytes_max = LINE_BYTES_MAX};
    sally_server_options options = {.conn.framing = &framing};
    sally_dispatch *table = table_create();
    sally_handler handler = {
        .user = table, .on_open = on_open, .on_message = on_message, .on_close = on_close};
    sally_engine *engine = NULL;
    int err = table ? sally_engine_create(&engine, NULL) : SALLY_ENOMEM;
    if (!err) err = sally_listen(engine, address, &handler, &options, NULL);
    if (!err) err = sally_engine_run(engine); /* until SIGINT or SIGTERM */
    sally_engine_destroy(engine);
    sally_dispatch_destroy(table);
    if (err) fprintf(stderr, "commands: %s: %s\n", address, sally_strerror(err));
    return err != 0;
}
