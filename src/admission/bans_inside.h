/* What bans.c and bans_file.c share, and nobody else sees. */
#ifndef ADMISSION_BANS_INSIDE_H
#define ADMISSION_BANS_INSIDE_H

#include <stdatomic.h>

#include "admission/bans.h"
#include "base/mem.h"
#include "os/lock.h"

enum { BANS_SWEEP_MS = 1000 };

struct sally_bans {
    atomic_uint refs;
    atomic_uint count; /* of the table */
    struct mem mem;
    struct hash_seed seed;
    uint32_t bans_max;
    uint64_t (*now_ms)(void *user);
    void *clock_user;
    bool own_clock;
    struct os_lock change; /* taken before look */
    struct os_lock look;
    struct ban_table *table;
    uint64_t sweep_ms; /* under change: when strikes may have it swept again */
};

uint64_t bans_now_ms(const sally_bans *bans);
int bans_new_table(sally_bans *bans, struct ban_table **table);
struct ban_table *bans_swap(sally_bans *bans, struct ban_table *table);
void ban_describe(const struct ban *ban, uint64_t now_ms, sally_ban *info);

#endif
