/* Hash LANES inputs of the same length side by side: one word of each in every vector. */

/* Where a word comes from when two rows are exchanged: words within groups of four, or the groups
 * themselves. Processors have an instruction for each. */
#define INSIDE(lane, half) ((lane) % 2 ? LANES : 0) + (lane) / 4 * 4 + (lane) % 4 / 2 + 2 * (half)
#define ACROSS(lane, half)                                                                         \
    ((lane) < LANES / 2 ? 0 : LANES) + (lane) % (LANES / 2) / 4 * 8 + (lane) % 4 + 4 * (half)

/* Exchange rows that are `step` apart: after all steps rows are columns. */
#define EXCHANGE(rows, step, FROM)                                                                 \
    for (int row = 0; row < LANES; row++)                                                          \
        if (!(row & (step))) {                                                                     \
            Vector above = (rows)[row], below = (rows)[row + (step)];                              \
            (rows)[row] = __builtin_shuffle(above, below, (Vector){EACH_LANE(FROM, 0)});           \
            (rows)[row + (step)] =                                                                 \
                __builtin_shuffle(above, below, (Vector){EACH_LANE(FROM, 1)});                     \
        }

static void HASH(const uint8_t *const *inputs, const uint32_t *counters, size_t blocks,
                 const uint32_t *key, uint32_t first, uint32_t every, uint32_t last, Value *out)
{
    typedef uint32_t Vector __attribute__((vector_size(4 * LANES)));
    Vector h[8], counter, zero = {0};
    for (int i = 0; i < 8; i++)
        h[i] = zero + key[i];
    memcpy(&counter, counters, sizeof counter);
    for (size_t block = 0; block < blocks; block++) {
        Vector m[16], v[16];
        uint32_t flags = every | (block ? 0 : first) | (block + 1 == blocks ? last : 0);
        for (int part = 0; part < 16; part += LANES) {
            for (int lane = 0; lane < LANES; lane++)
                memcpy(&m[part + lane], inputs[lane] + BLOCK * block + 4 * part, sizeof(Vector));
            for (int lane = 0; lane < LANES && !part; lane++)
                __builtin_prefetch(inputs[lane] + BLOCK * (block + AHEAD));
            EXCHANGE(m + part, 2, INSIDE)
            EXCHANGE(m + part, 1, INSIDE)
#if LANES > 4
            EXCHANGE(m + part, 4, ACROSS)
#endif
#if LANES > 8
            EXCHANGE(m + part, 8, ACROSS)
#endif
        }
        for (int i = 0; i < 8; i++)
            v[i] = h[i];
        for (int i = 0; i < 4; i++)
            v[8 + i] = zero + IV[i];
        v[12] = counter;
        v[13] = zero;
        v[14] = zero + BLOCK;
        v[15] = zero + flags;
        ROUND(v, m, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
        ROUND(v, m, 2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
        ROUND(v, m, 3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1)
        ROUND(v, m, 10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6)
        ROUND(v, m, 12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4)
        ROUND(v, m, 9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7)
        ROUND(v, m, 11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13)
        for (int i = 0; i < 8; i++)
            h[i] = v[i] ^ v[i + 8];
    }
    for (int i = 0; i < 8; i++)
        for (int lane = 0; lane < LANES; lane++)
            out[lane][i] = h[i][lane];
}

#undef LANES
#undef EACH_LANE
#undef HASH
#undef INSIDE
#undef ACROSS
#undef EXCHANGE
