/* The table of the key-value example: bounded in the length of keys and values, in their number and
 * in the sum of their bytes. Everything here belongs to one thread. */
#ifndef KV_STORE_H
#define KV_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    STORE_KEY_MAX = 512,
    STORE_VALUE_MAX = 64 * 1024,
    STORE_KEYS_MAX = 1000 * 1000,
    STORE_BYTES_MAX = 256 * 1024 * 1024,
    STORE_BUCKETS = 1 << 17,
};

struct entry {
    struct entry *next;
    uint32_t key_len;
    uint32_t value_len;
    char bytes[]; /* key, value */
};

struct store {
    uint64_t seed; /* so that a stranger can't prepare keys that all fall into one bucket */
    unsigned long keys;
    size_t bytes;
    struct entry *buckets[STORE_BUCKETS];
};

enum store_result { STORE_OK, STORE_TOO_LONG, STORE_FULL };

static inline struct store *store_create(void)
{
    struct store *store = calloc(1, sizeof *store);
    if (store)
        store->seed = (uint64_t)(uintptr_t)store * 0x9e3779b97f4a7c15u ^ (uint64_t)time(NULL);
    return store;
}

static inline void store_destroy(struct store *store)
{
    for (size_t i = 0; store && i < STORE_BUCKETS; i++)
        for (struct entry *entry = store->buckets[i], *next; entry; entry = next) {
            next = entry->next;
            free(entry);
        }
    free(store);
}

/* Where the entry of this key is, or would be. */
static inline struct entry **store_place(struct store *store, const char *key, size_t len)
{
    uint64_t hash = store->seed;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ (unsigned char)key[i]) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    struct entry **at = &store->buckets[hash >> 40 & (STORE_BUCKETS - 1)];
    while (*at && ((*at)->key_len != len || memcmp((*at)->bytes, key, len) != 0)) at = &(*at)->next;
    return at;
}

static inline void store_remove(struct store *store, struct entry **at)
{
    struct entry *entry = *at;
    *at = entry->next;
    store->keys--;
    store->bytes -= sizeof *entry + entry->key_len + entry->value_len;
    free(entry);
}

static inline enum store_result store_set(struct store *store, const char *key, size_t key_len,
                                          const char *value, size_t value_len)
{
    if (key_len > STORE_KEY_MAX || value_len > STORE_VALUE_MAX) return STORE_TOO_LONG;
    struct entry **at = store_place(store, key, key_len);
    if (!*at && store->keys == STORE_KEYS_MAX) return STORE_FULL;
    size_t bytes = sizeof(struct entry) + key_len + value_len;
    size_t freed = *at ? sizeof(struct entry) + key_len + (*at)->value_len : 0;
    if (store->bytes - freed + bytes > STORE_BYTES_MAX) return STORE_FULL;
    struct entry *entry = malloc(bytes);
    if (!entry) return STORE_FULL;
    if (*at) store_remove(store, at);
    *entry = (struct entry){*at, (uint32_t)key_len, (uint32_t)value_len};
    memcpy(entry->bytes, key, key_len);
    memcpy(entry->bytes + key_len, value, value_len);
    *at = entry;
    store->keys++;
    store->bytes += bytes;
    return STORE_OK;
}

/* Readable until the next call; NULL when there is none. */
static inline const char *store_get(struct store *store, const char *key, size_t len,
                                    size_t *value_len)
{
    const struct entry *entry = *store_place(store, key, len);
    if (!entry) return NULL;
    *value_len = entry->value_len;
    return entry->bytes + entry->key_len;
}

static inline bool store_del(struct store *store, const char *key, size_t len)
{
    struct entry **at = store_place(store, key, len);
    if (!*at) return false;
    store_remove(store, at);
    return true;
}

static inline unsigned long store_keys(const struct store *store) { return store->keys; }

#endif
