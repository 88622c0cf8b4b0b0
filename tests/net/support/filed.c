/* A file that is sent; see filed.h. */
#include "net/support/filed.h"

#include <unistd.h>

#include "net/support/raw.h"

char filed_path[64];
_Atomic(sally_file *) filed_shared;
bool filed_read;

void filed_write(uint64_t bytes)
{
    static unsigned char piece[64 * KB];
    snprintf(filed_path, sizeof filed_path, "net_file_test.%ld.tmp", (long)getpid());
    FILE *file = fopen(filed_path, "wb");
    assert_non_null(file);
    for (uint64_t at = 0; at < bytes;) {
        size_t len = bytes - at < sizeof piece ? (size_t)(bytes - at) : sizeof piece;
        pattern_fill(piece, STREAM, at, len);
        assert_int_equal(fwrite(piece, 1, len, file), len);
        at += len;
    }
    assert_int_equal(fclose(file), 0);
}

void filed_cut(uint64_t bytes)
{
    FILE *file = fopen(filed_path, "r+b");
    assert_non_null(file);
    assert_int_equal(ftruncate(fileno(file), (off_t)bytes), 0);
    assert_int_equal(fclose(file), 0);
}

static void filed_open(const struct stage *stage, uint64_t bytes)
{
    sally_file *file = NULL;
    int sys_error = -1;
    filed_write(bytes);
    assert_int_equal(sally_file_open(stage->engine, filed_path, &file, &sys_error), 0);
    assert_int_equal(sys_error, 0);
    assert_int_equal(sally_file_size(file), bytes);
    atomic_store(&filed_shared, file);
}

/* Its reference; those of sends go by themselves, and the stage sees that the descriptor went. */
void filed_release(void)
{
    sally_file_release(atomic_exchange(&filed_shared, NULL));
    remove(filed_path);
}

struct stage *filed_begin(const struct stage_way *way, uint64_t bytes,
                          const struct stage_options *options)
{
    struct stage_options with = *options;
    if (filed_read) with.engine.port_features_off = SALLY_READ_FILES;
    struct stage *stage = stage_begin(way, &with);
    filed_open(stage, bytes);
    return stage;
}

void filed_end(struct stage *stage)
{
    filed_release();
    stage_end(stage);
}

/* number[0] counts those that were sent, number[1] those that were dropped; each in its turn. */
static void filed_told(sally_conn *conn, void *arg, bool sent)
{
    struct actor *actor = actor_of(conn);
    uint64_t before = atomic_load(&actor->number[0]) + atomic_load(&actor->number[1]);
    STAGE_CHECK(actor->stage, (uintptr_t)arg == before);
    STAGE_CHECK(actor->stage, !atomic_load(&actor->closes));
    STAGE_CHECK(actor->stage, !sent || !atomic_load(&actor->number[1]));
    atomic_fetch_add(&actor->number[sent ? 0 : 1], 1);
}

int filed_send(sally_conn *conn, uint64_t at, uint64_t len, uint64_t tag)
{
    return sally_conn_send_file(conn, atomic_load(&filed_shared), at, len, filed_told,
                                (void *)(uintptr_t)tag);
}

void filed_send_bytes(sally_conn *conn, uint64_t at, size_t len)
{
    unsigned char bytes[PIECE];
    pattern_fill(bytes, STREAM, at, len);
    STAGE_CHECK(actor_of(conn)->stage, sally_conn_send(conn, bytes, len) == 0);
}

/* The client reads the pattern to the FIN. */
struct actor *filed_check_whole(struct stage *stage, uint64_t len, unsigned files)
{
    struct actor *actor;
    uint64_t bytes = 0;
    int fd = stage_client(stage, 0, &actor);
    assert_string_equal(raw_end_name(raw_check_to_end(fd, STREAM, 0, &bytes)), "FIN");
    raw_close(fd);
    assert_int_equal(bytes, len);
    const sally_close_info *info = actor_wait_closed(actor);
    assert_int_equal(info->bytes_out, len);
    assert_int_equal(info->bytes_unsent, 0);
    assert_int_equal(atomic_load(&actor->number[0]), files);
    assert_int_equal(atomic_load(&actor->number[1]), 0);
    return actor;
}
