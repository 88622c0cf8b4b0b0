/* Addresses as keys of hash tables: two words, the network's length beside them, hashed with a
 * secret seed, so that nobody who may choose his addresses can choose where they fall. The hash is
 * SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", with the rounds that
 * language run times take for their tables). Pure. */
#ifndef ADMISSION_HASH_H
#define ADMISSION_HASH_H

#include <stdint.h>
#include <string.h>

#include "base/addr.h"

struct hash_seed {
    uint64_t a, b;
};

/* The address as numbers; IPv4 in the upper half of `high`. */
struct key {
    uint64_t high, low;
};

static inline uint64_t key__word(const uint8_t *bytes)
{
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) word = word << 8 | bytes[i];
    return word;
}

static inline struct key key_of(uint8_t family, const uint8_t *ip)
{
    if (family == ADDR_V4)
        return (struct key){(uint64_t)ip[0] << 56 | (uint64_t)ip[1] << 48 | (uint64_t)ip[2] << 40 |
                                (uint64_t)ip[3] << 32,
                            0};
    return (struct key){key__word(ip), key__word(ip + 8)};
}

/* Only the first `bits`, counted from the top. */
static inline struct key key_prefix(struct key key, unsigned bits)
{
    if (bits <= 64) {
        key.high = bits ? key.high & ~UINT64_C(0) << (64 - bits) : 0;
        key.low = 0;
    } else if (bits < 128) {
        key.low &= ~UINT64_C(0) << (128 - bits);
    }
    return key;
}

static inline uint64_t hash__rotate(uint64_t word, int by)
{
    return word << by | word >> (64 - by);
}

static inline void hash__round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = hash__rotate(v[1], 13) ^ v[0];
    v[0] = hash__rotate(v[0], 32);
    v[2] += v[3];
    v[3] = hash__rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = hash__rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = hash__rotate(v[1], 17) ^ v[2];
    v[2] = hash__rotate(v[2], 32);
}

static inline void hash__begin(const struct hash_seed *seed, uint64_t v[4])
{
    v[0] = seed->a ^ UINT64_C(0x736f6d6570736575);
    v[1] = seed->b ^ UINT64_C(0x646f72616e646f6d);
    v[2] = seed->a ^ UINT64_C(0x6c7967656e657261);
    v[3] = seed->b ^ UINT64_C(0x7465646279746573);
}

static inline void hash__add(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    hash__round(v);
    v[0] ^= word;
}

static inline uint64_t hash__end(uint64_t v[4])
{
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) hash__round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* `what` tells keys of different kinds apart: family and length. */
static inline uint32_t hash_key(const struct hash_seed *seed, struct key key, uint32_t what)
{
    uint64_t v[4];
    hash__begin(seed, v);
    hash__add(v, key.high);
    hash__add(v, key.low);
    hash__add(v, (uint64_t)what | UINT64_C(20) << 56);
    uint64_t all = hash__end(v);
    return (uint32_t)(all ^ all >> 32);
}

/* Of a network, whose bits behind its length are 0. As few words as it needs, because a look-up
 * makes one for each length in use: a text of 6, 10 or 18 bytes, so two kinds are never the same.
 */
static inline uint64_t hash_network(const struct hash_seed *seed, struct key key, uint8_t family,
                                    unsigned bits)
{
    uint64_t v[4], what = (uint64_t)family << 8 | bits;
    hash__begin(seed, v);
    if (family == ADDR_V4) {
        hash__add(v, key.high >> 16 | what | UINT64_C(6) << 56);
        return hash__end(v);
    }
    hash__add(v, key.high);
    if (bits > 64) hash__add(v, key.low);
    hash__add(v, what | (bits > 64 ? UINT64_C(18) : UINT64_C(10)) << 56);
    return hash__end(v);
}

#endif
