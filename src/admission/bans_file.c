/* Loading and saving the public list of bans: files in, whole tables out. The format is that of
 * ban_file.c. */
#include <stdio.h>
#include <string.h>

#include "admission/ban_file.h"
#include "admission/bans_inside.h"
#include "os/clock.h"
#include "os/error.h"
#include "os/whole_file.h"

enum { FILE_BYTES_MAX = 1 << 30, SAVE_BYTES_MIN = 1 << 16, SAVE_PIECE = 64 };

static struct ban_now bans__now(const sally_bans *bans)
{
    uint64_t now_ms = bans_now_ms(bans);
    int64_t world_ms = bans->own_clock ? (int64_t)now_ms : os_world_ms();
    return (struct ban_now){.now_ms = now_ms, .world_s = world_ms / 1000};
}

static void fault__clear(sally_bans_fault *fault)
{
    if (fault) *fault = (sally_bans_fault){.line = 0};
}

static void fault__system(sally_bans_fault *fault, int err, int sys_error)
{
    if (!fault || !err) return;
    fault->sys_error = sys_error;
    if (sys_error)
        os_error_text(sys_error, fault->why, sizeof fault->why);
    else
        snprintf(fault->why, sizeof fault->why, "%s", sally_strerror(err));
}

/* ---- Loading ---- */

int sally_bans_load_text(sally_bans *bans, const char *text, size_t len, sally_bans_fault *fault)
{
    struct ban_table *table;
    struct ban_fault wrong = {.line = 0};
    if (!bans || (!text && len)) return SALLY_EINVAL;
    fault__clear(fault);
    struct ban_now now = bans__now(bans);
    int err = bans_new_table(bans, &table);
    if (err) return err;
    err = ban_file_read(table, text, len, &now, &wrong);
    if (err) {
        ban_table_destroy(table);
        if (!fault) return err;
        fault->line = wrong.line;
        snprintf(fault->why, sizeof fault->why, "%s", wrong.why);
        return err;
    }
    os_lock_take(&bans->change);
    struct ban_table *before = bans_swap(bans, table);
    os_lock_give(&bans->change);
    ban_table_destroy(before);
    return 0;
}

int sally_bans_load(sally_bans *bans, const char *path, sally_bans_fault *fault)
{
    char *text;
    size_t size;
    int sys_error;
    if (!bans || !path) return SALLY_EINVAL;
    fault__clear(fault);
    int err = whole_file_read(path, FILE_BYTES_MAX, &bans->mem, &text, &size, &sys_error);
    fault__system(fault, err, sys_error);
    if (err) return err;
    err = sally_bans_load_text(bans, text, size, fault);
    if (text) mem_free(&bans->mem, text, size);
    return err;
}

/* ---- Saving ---- */

struct text {
    struct mem *mem;
    char *bytes;
    size_t len, room;
};

static bool text_reserve(struct text *text, size_t more)
{
    if (text->room - text->len >= more) return true;
    size_t room = text->room ? text->room * 2 : SAVE_BYTES_MIN;
    char *bytes = mem_alloc(text->mem, room);
    if (!bytes) return false;
    if (text->bytes) {
        memcpy(bytes, text->bytes, text->len);
        mem_free(text->mem, text->bytes, text->room);
    }
    text->bytes = bytes;
    text->room = room;
    return true;
}

/* A few at a time: shards look in between. False: that was all. */
static bool save__piece(sally_bans *bans, uint32_t *at, const struct ban_now *now,
                        struct text *text)
{
    os_lock_take(&bans->look);
    uint32_t made = bans->table->made;
    for (unsigned left = SAVE_PIECE; left && *at < made; left--, ++*at) {
        const struct ban *ban = ban_table_at(bans->table, *at);
        if (!ban || ban_is_over(ban, now->now_ms)) continue;
        struct cidr cidr = ban_cidr(ban);
        text->len += ban_file_line(text->bytes + text->len, text->room - text->len, &cidr,
                                   ban->until_ms, ban->reason, now);
    }
    os_lock_give(&bans->look);
    return *at < made;
}

/* Nobody changes the list meanwhile, so the file is of one moment. */
static int save__collect(sally_bans *bans, struct text *text)
{
    struct ban_now now = bans__now(bans);
    uint32_t at = 0;
    bool more = true;
    os_lock_take(&bans->change);
    while (more && text_reserve(text, (size_t)SAVE_PIECE * BAN_LINE_MAX))
        more = save__piece(bans, &at, &now, text);
    os_lock_give(&bans->change);
    return more ? SALLY_ENOMEM : 0;
}

int sally_bans_save(sally_bans *bans, const char *path, sally_bans_fault *fault)
{
    if (!bans || !path) return SALLY_EINVAL;
    struct text text = {.mem = &bans->mem};
    int sys_error = 0;
    fault__clear(fault);
    int err = save__collect(bans, &text);
    if (!err) err = whole_file_replace(path, text.bytes, text.len, &sys_error);
    fault__system(fault, err, sys_error);
    if (text.bytes) mem_free(&bans->mem, text.bytes, text.room);
    return err;
}
