/* Descriptions of filters, judged and copied: what a policy keeps of those in its options.
 * Read-only once made, so any thread reads it. Memory is the policy's. */
#ifndef FILTER_FILTERS_H
#define FILTER_FILTERS_H

#include <stdint.h>

#include "base/mem.h"
#include "sallyport/filter.h"

struct filters {
    uint32_t count; /* 1 to SALLY_FILTERS_MAX */
    sally_filter list[SALLY_FILTERS_MAX];
    char names[SALLY_FILTERS_MAX][SALLY_FILTER_NAME_MAX + 1];
};

/* A copy in memory of its own; NULL when there are none. SALLY_EINVAL, SALLY_ENOMEM. */
int filters_create(struct filters **filters, struct mem *mem, const sally_filter *plain,
                   uint32_t count);
void filters_free(struct filters *filters, struct mem *mem);

/* The states of one connection, one behind the other; where that of the n-th begins. */
size_t filters_states_bytes(const struct filters *filters);
size_t filters_state_at(const struct filters *filters, uint32_t n);

#endif
