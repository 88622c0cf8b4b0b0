/* See client_log.h. */
#include "net/support/client_log.h"

static void say_it(struct log *log, char what, const sally_client_event *event)
{
    unsigned n = atomic_load(&log->events);
    if (atomic_load(&log->ends)) log->wrong = true; /* nothing comes after the end */
    if (n < LOG_EVENTS - 1) {
        log->story[n] = what;
        if (event) log->event[n] = *event;
        if (log->sim) log->at_ms[n] = sally_sim_now_ms(log->sim);
    }
    atomic_store(&log->events, n + 1);
    if (what != log->stop_at) return;
    log->stop_at = 0;
    if (log->destroys)
        check_error(sally_client_destroy(log->client), 0);
    else
        check_error(sally_client_stop(log->client), 0);
}

static void on_state(sally_client *client, const sally_client_event *event)
{
    struct log *log = sally_client_user(client);
    if (client != log->client) log->wrong = true; /* set before the first callback */
    if (sally_client_get_state(client) != event->state) log->wrong = true;
    if (event->state == SALLY_CLIENT_UP && sally_client_id(client) != event->id) log->wrong = true;
    if (event->state != SALLY_CLIENT_UP && sally_client_id(client)) log->wrong = true;
    log->last = *event;
    say_it(log, "WCUE"[event->state], event);
    if (event->state == SALLY_CLIENT_ENDED) atomic_fetch_add(&log->ends, 1);
}

static void on_open(sally_conn *conn)
{
    struct log *log = sally_conn_user(conn);
    if (sally_conn_client(conn) != log->client || sally_conn_server(conn)) log->wrong = true;
    if (sally_client_id(log->client) != sally_conn_id(conn)) log->wrong = true;
    atomic_store(&log->id, sally_conn_id(conn));
    atomic_fetch_add(&log->opens, 1);
    say_it(log, 'o', NULL);
}

static void on_data(sally_conn *conn, const void *data, size_t len)
{
    (void)data;
    (void)len;
    say_it(sally_conn_user(conn), 'd', NULL);
}

static void on_close(sally_conn *conn, const sally_close_info *info)
{
    struct log *log = sally_conn_user(conn);
    (void)info;
    if (sally_client_id(log->client)) log->wrong = true;
    atomic_fetch_add(&log->closes, 1);
    say_it(log, 'c', NULL);
}

int log_create(struct log *log, const char *address, const sally_client_options *given)
{
    sally_client_options options = given ? *given : (sally_client_options){0};
    sally_handler handler = {
        .user = log, .on_open = on_open, .on_data = on_data, .on_close = on_close};
    options.on_state = on_state;
    return sally_client_create(log->engine, address, &handler, &options, &log->client);
}

sally_sim *log_sim(uint64_t seed, uint32_t conns, sally_engine **engine)
{
    sally_sim *sim;
    sally_sim_options world = {.descriptors_max = LOG_SOCKETS, .latency_max_us = 1000};
    sally_engine_options options = {.shards = 1 + (uint32_t)(seed % 3), .conns_max = conns};
    check_error(sally_sim_create(&sim, seed, &world), 0);
    check_error(sally_sim_engine(sim, &options, engine), 0);
    return sim;
}

void log_sim_end(sally_sim *sim, sally_engine *engine)
{
    check_error(sally_engine_destroy(engine), 0);
    check_equal(sally_sim_sockets(sim), 0);
    check_equal(sally_sim_memory_bytes(sim), 0);
    sally_sim_destroy(sim);
}

void log_check(const struct log *log)
{
    check(!log->wrong);
    check_equal(atomic_load(&log->ends), 1);
    check_equal(atomic_load(&log->opens), atomic_load(&log->closes));
}
