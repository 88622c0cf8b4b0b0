/* A server of the files of one folder. A line names a file; the answer is "OK 12345", so many bytes
 * and a line with a dot, or "NO" and why. Head and tail are sends as all others, and the file is
 * sent by the system between them, however long it is: none of it is in this program's memory. */
#include <sallyport/file.h>
#include <sallyport/framing.h>
#include <stdio.h>

enum { NAME_MAX_BYTES = 100, PATH_MAX_BYTES = 4096 };

/* Letters, digits, '-', '_' and dots that are not the first: so nothing that a system reads as more
 * than a name, and no way out of the folder but by links that its owner has put there. */
static bool name_is_plain(const char *name, size_t len)
{
    if (len < 1 || len > NAME_MAX_BYTES || name[0] == '.') return false;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.') return false;
    }
    return true;
}

static int answer_no(sally_conn *conn, const char *why)
{
    char line[200];
    int len = snprintf(line, sizeof line, "NO %s\n", why);
    return sally_conn_send(conn, line, (size_t)len);
}

/* The queue keeps a reference of its own, so ours goes at once. */
static int answer_file(sally_conn *conn, sally_file *file)
{
    char head[40];
    int len = snprintf(head, sizeof head, "OK %llu\n", (unsigned long long)sally_file_size(file));
    int err = sally_conn_send(conn, head, (size_t)len);
    if (!err) err = sally_conn_send_file(conn, file, 0, 0, NULL, NULL);
    if (!err) err = sally_conn_send(conn, "\n.\n", 3);
    sally_file_release(file);
    return err;
}

static int answer(sally_conn *conn, const char *name, size_t len)
{
    char path[PATH_MAX_BYTES];
    const char *folder = sally_conn_user(conn);
    sally_file *file;
    if (!name_is_plain(name, len)) return answer_no(conn, "not a name");
    if (snprintf(path, sizeof path, "%s/%.*s", folder, (int)len, name) >= (int)sizeof path)
        return answer_no(conn, "not a name");
    int err = sally_file_open(sally_conn_engine(conn), path, &file, NULL);
    return err ? answer_no(conn, sally_strerror(err)) : answer_file(conn, file);
}

/* A peer that asks for many files at once is not read while sixteen of them wait. A half of an
 * answer must not be left: what can't be queued ends the connection. */
static void on_message(sally_conn *conn, const void *data, size_t len)
{
    if (answer(conn, data, len)) sally_conn_abort(conn);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    char peer[64];
    if (info->reason == SALLY_CLOSE_FILE)
        fprintf(stderr, "files: %s: %s\n", sally_conn_peer(conn, peer, sizeof peer),
                sally_strerror(info->error));
}

int main(int argc, char **argv)
{
    const char *address = argc > 2 ? argv[2] : "127.0.0.1:5004";
    sally_framing framing = {.kind = SALLY_FRAMING_LINE, .message_bytes_max = NAME_MAX_BYTES + 2};
    sally_server_options options = {.conn.framing = &framing};
    sally_handler handler = {.on_message = on_message, .on_close = on_close};
    sally_engine *engine = NULL;
    if (argc < 2) {
        fprintf(stderr, "usage: files FOLDER [ADDRESS]\n");
        return 2;
    }
    handler.user = argv[1];
    int err = sally_engine_create(&engine, NULL);
    if (!err) err = sally_listen(engine, address, &handler, &options, NULL);
    if (!err) err = sally_engine_run(engine); /* until SIGINT or SIGTERM */
    sally_engine_destroy(engine);
    if (err) fprintf(stderr, "files: %s: %s\n", address, sally_strerror(err));
    return err != 0;
}
