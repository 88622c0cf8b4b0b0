/* A client behind a proxy: upstream example.org:7 socks5://user:password@192.0.2.1:1080
 *
 * Sends a line, prints what comes back, and closes when all of it is there. The proxy looks the
 * name up; its refusal is told with its own code. */
#include <sallyport.h>
#include <sallyport/upstream.h>
#include <stdio.h>

static const char greeting[] = "hello\n";

struct session {
    sally_engine *engine;
    size_t received;
    int err, code;
};

static void on_open(sally_conn *conn) { sally_conn_send(conn, greeting, sizeof greeting - 1); }

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    struct session *session = sally_conn_user(conn);
    fwrite(data, 1, len, stdout);
    session->received += len;
    if (session->received >= sizeof greeting - 1) sally_conn_close(conn);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct session *session = sally_conn_user(conn);
    session->err = info->error;
    session->code = info->sys_error;
    if (info->reason != SALLY_CLOSE_LOCAL)
        fprintf(stderr, "upstream: %s\n", sally_close_reason_text(info->reason));
    sally_engine_stop(session->engine); /* run returns */
}

static int run(const char *address, const sally_connect_options *options, struct session *session)
{
    sally_handler handler = {
        .user = session, .on_open = on_open, .on_data = on_data, .on_close = on_close};
    int err = sally_engine_create(&session->engine, &(sally_engine_options){.shards = 1});
    if (!err) err = sally_connect(session->engine, address, &handler, options, NULL);
    if (!err) err = sally_engine_run(session->engine);
    sally_engine_destroy(session->engine);
    return err ? err : session->err;
}

int main(int argc, char **argv)
{
    sally_upstream_url proxy;
    struct session session = {0};
    if (argc != 3 || sally_upstream_parse(&proxy, argv[2])) {
        fputs("usage: upstream HOST:PORT "
              "socks4|socks4a|socks5|http://[USER[:PASSWORD]@]HOST:PORT\n",
              stderr);
        return 2;
    }
    int err = run(argv[1], &(sally_connect_options){.upstream = &proxy.upstream}, &session);
    if (err) fprintf(stderr, "upstream: %s: %s (%d)\n", argv[1], sally_strerror(err), session.code);
    return err != 0 || session.received < sizeof greeting - 1;
}
