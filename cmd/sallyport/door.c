#include "door.h"

#include <stdio.h>

static const char farewell[] = "this server is full, please come back later\n";

static void print_fault(const struct door *door, const sally_bans_fault *fault, int err,
                        const char *then)
{
    fprintf(stderr, "sallyport: %s", door->bans_file);
    if (fault->line) fprintf(stderr, ", line %u", fault->line);
    fprintf(stderr, ": %s%s (%s)\n", fault->why[0] ? fault->why : sally_strerror(err), then,
            sally_err_name(err));
}

bool serve_door_open(struct door *door)
{
    sally_bans_fault fault = {.line = 0};
    const sally_bans_options options = {.bans_max = 1u << 20};
    if (!door->bans_file) return true;
    int err = sally_bans_create(&door->bans, &options);
    if (!err) err = sally_bans_load(door->bans, door->bans_file, &fault);
    if (err) print_fault(door, &fault, err, "");
    return !err;
}

void serve_door_close(struct door *door)
{
    sally_bans_destroy(door->bans);
    door->bans = NULL;
}

sally_admission serve_door_admission(const struct door *door)
{
    return (sally_admission){
        .bans = door->bans,
        .limits = {.conns_per_address = door->conns_per_address,
                   .connects_per_s_address = door->connect_rate},
        .farewell = farewell,
        .farewell_bytes = sizeof farewell - 1,
    };
}

void serve_door_reload(void *arg)
{
    struct door *door = arg;
    sally_bans_fault fault = {.line = 0};
    int err = sally_bans_load(door->bans, door->bans_file, &fault);
    if (err)
        print_fault(door, &fault, err, "; the bans stay as they were");
    else
        fprintf(stderr, "sallyport: %s: %u bans\n", door->bans_file, sally_bans_count(door->bans));
}
