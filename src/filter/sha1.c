/* See sha1.h. */
#include "filter/sha1.h"

#include <stdint.h>
#include <string.h>

enum { BLOCK = 64, WORDS = 5, ROUNDS = 80, LENGTH_AT = BLOCK - 8 };

static uint32_t rotate(uint32_t word, unsigned bits) { return word << bits | word >> (32 - bits); }

static uint32_t word_at(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* The function and constant of a round. */
static uint32_t mix(unsigned round, uint32_t b, uint32_t c, uint32_t d)
{
    if (round < 20) return ((b & c) | (~b & d)) + 0x5a827999;
    if (round < 40) return (b ^ c ^ d) + 0x6ed9eba1;
    if (round < 60) return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    return (b ^ c ^ d) + 0xca62c1d6;
}

static void sha1__block(uint32_t state[WORDS], const unsigned char *block)
{
    uint32_t schedule[ROUNDS];
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (unsigned i = 0; i < 16; i++) schedule[i] = word_at(block + 4 * (size_t)i);
    for (unsigned i = 16; i < ROUNDS; i++)
        schedule[i] =
            rotate(schedule[i - 3] ^ schedule[i - 8] ^ schedule[i - 14] ^ schedule[i - 16], 1);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint32_t next = rotate(a, 5) + mix(i, b, c, d) + e + schedule[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    const uint32_t sums[WORDS] = {a, b, c, d, e};
    for (unsigned i = 0; i < WORDS; i++) state[i] += sums[i];
}

void sha1(const void *data, size_t len, unsigned char digest[SHA1_BYTES])
{
    uint32_t state[WORDS] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    const unsigned char *at = data;
    size_t left = len;
    for (; left >= BLOCK; left -= BLOCK, at += BLOCK) sha1__block(state, at);
    unsigned char last[2 * BLOCK] = {0}; /* the rest, a one bit, zeros, the length in bits */
    if (left) memcpy(last, at, left);
    last[left] = 0x80;
    size_t blocks = left < LENGTH_AT ? 1 : 2;
    uint64_t bits = (uint64_t)len * 8;
    for (unsigned i = 0; i < 8; i++)
        last[blocks * BLOCK - 1 - i] = (unsigned char)(bits >> (8 * i));
    for (size_t i = 0; i < blocks; i++) sha1__block(state, last + i * BLOCK);
    for (unsigned i = 0; i < SHA1_BYTES; i++)
        digest[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
}
