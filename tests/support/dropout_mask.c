/* The mask of dropout by the comment of the message Dropout in regularizers.proto, and by nothing else.
 *
 *   dropout_mask SIZE RATE SEED STEP OFFSET
 *
 * prints 1 for each element that stays and 0 for each that is dropped. */

#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static const uint64_t increment = UINT64_C(0x9E3779B97F4A7C15);

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static uint64_t random_word(uint64_t seed, uint64_t i)
{
    return mix(mix(seed + increment) + (i + 1) * increment);
}

int main(int count, char **arguments)
{
    if (count != 6) {
        fprintf(stderr, "usage: dropout_mask SIZE RATE SEED STEP OFFSET\n");
        return 2;
    }
    const uint64_t size = strtoull(arguments[1], NULL, 10);
    const uint64_t threshold = (uint64_t)ceil(ldexp(strtod(arguments[2], NULL), 64));
    const uint64_t seed = strtoull(arguments[3], NULL, 10);
    const uint64_t step = strtoull(arguments[4], NULL, 10);
    const uint64_t offset = strtoull(arguments[5], NULL, 10);
    const uint64_t of_step = random_word(seed, step);
    for (uint64_t i = 0; i < size; i++)
        putchar(random_word(of_step, offset + i) >= threshold ? '1' : '0');
    putchar('\n');
    return 0;
}
