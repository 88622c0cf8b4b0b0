/* Copies of descriptions; see filters.h. */
#include "filter/filters.h"

#include <string.h>

static bool filter__is_whole(const sally_filter *filter)
{
    if (!filter->name || !filter->in || !filter->out) return false;
    return filter->state_bytes <= SALLY_FILTER_STATE_MAX &&
           strnlen(filter->name, SALLY_FILTER_NAME_MAX + 1) <= SALLY_FILTER_NAME_MAX;
}

int filters_create(struct filters **out, struct mem *mem, const sally_filter *plain, uint32_t count)
{
    *out = NULL;
    if (!count) return 0;
    if (count > SALLY_FILTERS_MAX || !plain) return SALLY_EINVAL;
    for (uint32_t i = 0; i < count; i++)
        if (!filter__is_whole(&plain[i])) return SALLY_EINVAL;
    struct filters *filters = mem_zalloc(mem, sizeof *filters);
    if (!filters) return SALLY_ENOMEM;
    filters->count = count;
    for (uint32_t i = 0; i < count; i++) {
        filters->list[i] = plain[i];
        memcpy(filters->names[i], plain[i].name, strlen(plain[i].name));
        filters->list[i].name = filters->names[i];
    }
    *out = filters;
    return 0;
}

void filters_free(struct filters *filters, struct mem *mem)
{
    mem_free(mem, filters, sizeof *filters);
}

size_t filters_state_at(const struct filters *filters, uint32_t n)
{
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) at += mem_aligned(filters->list[i].state_bytes);
    return at;
}

size_t filters_states_bytes(const struct filters *filters)
{
    return filters_state_at(filters, filters->count);
}
