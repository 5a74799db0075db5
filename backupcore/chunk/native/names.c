/* Chunk ids and the zero test for many chunks in one call, in which the interpreter is free.
 *
 * Keyed BLAKE3-256 of chunks whose size is a power of two from 2 KiB to 1 MiB: the leaves of their
 * trees side by side in vectors. Written from the BLAKE3 paper, sections 2.1 to 2.6 (O'Connor,
 * Aumasson, Neves, Wilcox-O'Hearn). For little-endian machines.
 */
#include <stdint.h>
#include <string.h>

#define LEAF 1024  /* bytes of a leaf of BLAKE3's tree */
#define BLOCK 64
#define GROUP 1024 /* leaves whose chaining values are held at once */
#define AHEAD 2    /* blocks a lane fetches into the cache before it comes to them */

enum { CHUNK_START = 1, CHUNK_END = 2, PARENT = 4, ROOT = 8, KEYED_HASH = 16 };

static const uint32_t IV[8] = {
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
};

typedef uint32_t Value[8]; /* a chaining value */
typedef void Hash(const uint8_t *const *inputs, const uint32_t *counters, size_t blocks,
                  const uint32_t *key, uint32_t first, uint32_t every, uint32_t last, Value *out);

#define MIX(a, b, c, d, x, y)                                                                      \
    a += b + x; d = ROTATE(d ^ a, 16); c += d; b = ROTATE(b ^ c, 12);                              \
    a += b + y; d = ROTATE(d ^ a, 8); c += d; b = ROTATE(b ^ c, 7);
#define ROTATE(v, n) ((v) >> (n) | (v) << (32 - (n)))
#define ROUND(v, m, a, b, c, d, e, f, g, h, i, j, k, l, n, o, p, q)                                \
    MIX(v[0], v[4], v[8], v[12], m[a], m[b]) MIX(v[1], v[5], v[9], v[13], m[c], m[d])              \
    MIX(v[2], v[6], v[10], v[14], m[e], m[f]) MIX(v[3], v[7], v[11], v[15], m[g], m[h])            \
    MIX(v[0], v[5], v[10], v[15], m[i], m[j]) MIX(v[1], v[6], v[11], v[12], m[k], m[l])            \
    MIX(v[2], v[7], v[8], v[13], m[n], m[o]) MIX(v[3], v[4], v[9], v[14], m[p], m[q])

/* One function for each width of vectors. */
#define LANES 4
#define EACH_LANE(F, half) F(0, half), F(1, half), F(2, half), F(3, half)
#define HASH hash_4
#include "lanes.h"

#if defined(__x86_64__)
#define LANES 8
#define EACH_LANE(F, half)                                                                         \
    F(0, half), F(1, half), F(2, half), F(3, half), F(4, half), F(5, half), F(6, half), F(7, half)
#define HASH __attribute__((target("avx2"))) hash_8
#include "lanes.h"

#define LANES 16
#define EACH_LANE(F, half)                                                                         \
    F(0, half), F(1, half), F(2, half), F(3, half), F(4, half), F(5, half), F(6, half),            \
        F(7, half), F(8, half), F(9, half), F(10, half), F(11, half), F(12, half), F(13, half),    \
        F(14, half), F(15, half)
#define HASH __attribute__((target("avx512f,avx512vl"))) hash_16
#include "lanes.h"
#endif

#define LANES_MAX 16
#ifndef LANES_USABLE
#define LANES_USABLE LANES_MAX
#endif

static size_t choose(Hash **hash)
{
#if defined(__x86_64__)
    if (LANES_USABLE >= 16 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) {
        *hash = hash_16;
        return 16;
    }
    if (LANES_USABLE >= 8 && __builtin_cpu_supports("avx2")) {
        *hash = hash_8;
        return 8;
    }
#endif
    *hash = hash_4;
    return 4;
}

/* Hash inputs of the same length, `lanes` at a time; spare lanes repeat the last one. */
static void hash_all(const uint8_t *const *inputs, size_t count, uint32_t counter_mask,
                     size_t blocks, const uint32_t *key,
                     uint32_t first, uint32_t every, uint32_t last, Value *out)
{
    Hash *hash;
    size_t lanes = choose(&hash);
    for (size_t at = 0; at < count; at += lanes) {
        const uint8_t *side[LANES_MAX];
        uint32_t counters[LANES_MAX];
        Value values[LANES_MAX];
        size_t used = count - at < lanes ? count - at : lanes;
        for (size_t lane = 0; lane < lanes; lane++) {
            size_t index = at + (lane < used ? lane : used - 1);
            side[lane] = inputs[index];
            counters[lane] = (uint32_t)index & counter_mask;
        }
        hash(side, counters, blocks, key, first, every, last, values);
        memcpy(out[at], values, used * sizeof(Value));
    }
}

static int is_zero(const uint8_t *bytes, size_t length)
{
    for (size_t at = 0; at < length; at += 256) {
        uint64_t any = 0, words[32];
        memcpy(words, bytes + at, sizeof words);
        for (int i = 0; i < 32; i++)
            any |= words[i];
        if (any)
            return 0;
    }
    return 1;
}

/* Name chunks all leaves of whose trees fit a group. */
static void name_group(const uint8_t *const *chunks, size_t count, size_t chunk_size,
                       const uint32_t *key, Value *values)
{
    const uint8_t *inputs[GROUP];
    size_t leaves = chunk_size / LEAF, total = count * leaves;
    for (size_t i = 0; i < total; i++)
        inputs[i] = chunks[i / leaves] + i % leaves * LEAF;
    hash_all(inputs, total, (uint32_t)leaves - 1, LEAF / BLOCK, key, CHUNK_START, KEYED_HASH,
             CHUNK_END, values);
    for (; leaves > 1; leaves /= 2) {
        total /= 2;
        for (size_t i = 0; i < total; i++)
            inputs[i] = (const uint8_t *)values[2 * i];
        hash_all(inputs, total, 0, 1, key, leaves == 2 ? ROOT : 0, KEYED_HASH | PARENT, 0, values);
    }
}

/* Name chunks of a run; return 0, or -1 where the chunk size is not one this is written for.
 *
 * positions: of the `count` chunks in the run; null for the first ones. nonzero: for each, 1 or 0;
 * null when zeros are to be named as well. ids: 32 bytes for each, untouched where it is zero.
 */
int backupcore_name_chunks(const uint8_t *run, const int64_t *positions, size_t count,
                           size_t chunk_size, const uint8_t *key_bytes, uint8_t *nonzero,
                           uint8_t *ids)
{
    const uint8_t *chunks[GROUP / 2];
    size_t owners[GROUP / 2], held = 0, most;
    Value values[GROUP];
    uint32_t key[8];
    if (chunk_size < 2 * LEAF || chunk_size > GROUP * LEAF || chunk_size & (chunk_size - 1))
        return -1;
    most = GROUP / (chunk_size / LEAF);
    memcpy(key, key_bytes, sizeof key);
    for (size_t at = 0; at < count; at++) {
        const uint8_t *chunk = run + (positions ? (size_t)positions[at] : at) * chunk_size;
        int is_data = !nonzero || !is_zero(chunk, chunk_size);
        if (nonzero)
            nonzero[at] = (uint8_t)is_data;
        if (is_data) {
            chunks[held] = chunk;
            owners[held++] = at;
        }
        if (held == most || (held && at + 1 == count)) {
            name_group(chunks, held, chunk_size, key, values);
            for (size_t i = 0; i < held; i++)
                memcpy(ids + 32 * owners[i], values[i], sizeof(Value));
            held = 0;
        }
    }
    return 0;
}
