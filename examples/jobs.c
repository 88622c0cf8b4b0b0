/* Long work beside the connections: a line with a number is answered by how many primes are below
 * it. Counting takes up to seconds, so it is a job for a pool; the connection's shard serves others
 * meanwhile. Try it: `printf '1000000\n' | nc 127.0.0.1 5002`. */
#include <sallyport.h>
#include <sallyport/work.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBER_MAX = 100 * 1000 * 1000, DIGITS_MAX = 9 };

/* One job: the worker fills in the answer, nobody else touches it meanwhile. */
struct question {
    unsigned number;
    unsigned answer;
};

/* A connection: the number that it is writing. */
struct client {
    sally_pool *pool;
    unsigned number;
    unsigned digits;
    unsigned pending; /* jobs */
    bool finished;    /* it sends nothing more */
};

/* On a worker. Here it may block, read files, ask a database. */
static void count_primes(void *arg)
{
    struct question *question = arg;
    for (unsigned n = 2; n < question->number; n++) {
        unsigned factor = 2;
        while (factor * factor <= n && n % factor) factor++;
        question->answer += factor * factor > n;
    }
}

/* Back on the connection's shard, once for each job, whatever has happened. */
static void answer(sally_conn *conn, void *arg, int status)
{
    struct question *question = arg;
    char text[64];
    if (status == 0)
        snprintf(text, sizeof text, "%u primes below %u\n", question->answer, question->number);
    else
        snprintf(text, sizeof text, "%u: %s\n", question->number, sally_strerror(status));
    free(question);
    if (!conn) return; /* the client has gone, and what it had is freed */
    struct client *client = sally_conn_user(conn);
    client->pending--;
    sally_conn_send(conn, text, strlen(text));
    if (client->finished && !client->pending) sally_conn_close(conn);
}

static void ask(sally_conn *conn, struct client *client)
{
    struct question *question = calloc(1, sizeof *question);
    int err = SALLY_ENOMEM;
    if (question) {
        question->number = client->number;
        err = sally_work(conn, client->pool, count_primes, answer, question,
                         &(sally_job_options){.wait_ms = 10000, .needs_conn = true}, NULL);
    }
    client->pending += !err;
    if (!err) return;
    free(question); /* refused: nothing will be called */
    sally_conn_send(conn, "busy\n", 5);
}

static void on_open(sally_conn *conn)
{
    struct client *client = calloc(1, sizeof *client);
    if (client)
        client->pool = sally_server_user(sally_conn_server(conn));
    else
        sally_conn_abort(conn);
    sally_conn_set_user(conn, client);
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    struct client *client = sally_conn_user(conn);
    for (const char *at = data, *end = at + len; at < end; at++) {
        if (*at >= '0' && *at <= '9' && client->digits < DIGITS_MAX) {
            client->number = client->number * 10 + (unsigned)(*at - '0');
            client->digits++;
        } else if (*at == '\n' && client->digits && client->number <= NUMBER_MAX) {
            ask(conn, client);
            client->number = client->digits = 0;
        } else if (*at != '\r') {
            sally_conn_send(conn, "a number up to 100000000, please\n", 33);
            sally_conn_close(conn);
            return;
        }
    }
}

/* Without it the connection would close before the last answers are there. */
static void on_eof(sally_conn *conn)
{
    struct client *client = sally_conn_user(conn);
    client->finished = true;
    if (!client->pending) sally_conn_close(conn);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    (void)info;
    free(sally_conn_user(conn));
}

int main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:5002";
    sally_engine *engine = NULL;
    sally_pool *pool = NULL;
    int err = sally_engine_create(&engine, &(sally_engine_options){.shards = 1});
    if (!err) err = sally_pool_create(&pool, engine, &(sally_pool_options){.jobs_max = 1000});
    sally_handler handler = {.user = pool,
                             .on_open = on_open,
                             .on_data = on_data,
                             .on_eof = on_eof,
                             .on_close = on_close};
    if (!err) err = sally_listen(engine, address, &handler, NULL, NULL);
    if (!err) err = sally_engine_run(engine);
    sally_engine_destroy(engine); /* jobs may still run: their ends find no connection */
    sally_pool_destroy(pool);
    if (err) fprintf(stderr, "jobs: %s: %s\n", address, sally_strerror(err));
    return err != 0;
}
