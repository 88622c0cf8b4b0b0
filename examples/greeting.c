/* Two servers in one process, of different policy: one greets whoever comes, the other serves two
 * at a time, one from each address, and tells the rest so. Neither knows a peer of 192.0.2.0/24. */
#include <sallyport.h>
#include <sallyport/admission.h>
#include <stdio.h>
#include <string.h>

static void greet(sally_conn *conn)
{
    const char *greeting = sally_conn_user(conn);
    sally_conn_send(conn, greeting, strlen(greeting));
}

static int serve(sally_engine *engine, sally_bans *bans, const char *open, const char *strict)
{
    static char hello[] = "hello\n", welcome[] = "welcome, you are one of two\n";
    static const char full[] = "full\n";
    const sally_admission everybody = {.bans = bans};
    const sally_admission few = {.bans = bans,
                                 .limits = {.conns_per_address = 1},
                                 .farewell = full,
                                 .farewell_bytes = sizeof full - 1};
    int err = sally_listen(engine, open, &(sally_handler){.user = hello, .on_open = greet},
                           &(sally_server_options){.admission = &everybody}, NULL);
    if (err) return err;
    return sally_listen(engine, strict, &(sally_handler){.user = welcome, .on_open = greet},
                        &(sally_server_options){
                            .conns_max = 2, .at_limit = SALLY_AT_LIMIT_FAREWELL, .admission = &few},
                        NULL);
}

int main(int argc, char **argv)
{
    const char *open = argc > 2 ? argv[1] : "127.0.0.1:5003";
    const char *strict = argc > 2 ? argv[2] : "127.0.0.1:5004";
    sally_engine *engine = NULL;
    sally_bans *bans = NULL;
    int err = sally_bans_create(&bans, NULL);
    if (!err) err = sally_bans_add(bans, "192.0.2.0/24", SALLY_FOREVER, "an example");
    if (!err) err = sally_engine_create(&engine, NULL);
    if (!err) err = serve(engine, bans, open, strict);
    if (!err) err = sally_engine_run(engine); /* until SIGINT or SIGTERM */
    sally_engine_destroy(engine);
    sally_bans_destroy(bans);
    if (err) fprintf(stderr, "greeting: %s\n", sally_strerror(err));
    return err != 0;
}
