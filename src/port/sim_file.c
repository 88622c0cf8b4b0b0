/* Files of the simulated world, and sending them. A file's bytes are a function of their place,
 * which whoever makes the file brings; so one of 5 GiB costs nothing. Memory: the table is the
 * world's. One thread. */
#include "port/sim.h"
#include "sallyport/error.h"

enum { FILES_FIRST = 8, PIECE_BYTES = 4096 };

os_file sim_file_make(struct sim_world *world, uint64_t bytes,
                      void (*read)(void *user, uint64_t offset, void *to, uint32_t len), void *user)
{
    uint32_t index = 0;
    while (index < world->files_room && world->files[index].open) index++;
    if (index == world->files_room) {
        uint32_t room = index ? index * 2 : FILES_FIRST;
        world->files = sim_grow(world, world->files, index * sizeof *world->files,
                                room * sizeof *world->files);
        world->files_room = room;
    }
    world->files[index] = (struct sim_file){
        .bytes = bytes, .fails_at = UINT64_MAX, .read = read, .user = user, .open = true};
    return (os_file)index + 1;
}

struct sim_file *sim_file_of(struct sim_world *world, os_file handle)
{
    if (handle < 1 || (uint64_t)handle > world->files_room) return NULL;
    struct sim_file *file = &world->files[handle - 1];
    return file->open ? file : NULL;
}

void sim_file_close(struct sim_world *world, os_file handle)
{
    struct sim_file *file = sim_file_of(world, handle);
    if (!file) sim_violation(world, "file %d is closed and was not open", (int)handle);
    file->open = false;
}

void sim_file_check(struct sim_link *link)
{
    const struct port_file *now = link->file, *then = &link->file_copy;
    if (now->handle != then->handle || now->offset != then->offset || now->bytes != then->bytes)
        sim_violation(link->port->world, "slot %u: a file send was changed while it was in flight",
                      link->slot_index);
    if (!sim_file_of(link->port->world, now->handle))
        sim_violation(link->port->world, "slot %u: file %d is sent and not open", link->slot_index,
                      (int)now->handle);
}

/* How many of `max` can be read from its offset on, or SALLY_E*. */
static int64_t readable(const struct sim_file *file, uint64_t offset, uint32_t max)
{
    uint64_t end = file->bytes < file->fails_at ? file->bytes : file->fails_at;
    if (offset >= file->bytes) return SALLY_EFILEEND;
    if (offset >= end) return SALLY_EFILE;
    return end - offset < max ? (int64_t)(end - offset) : max;
}

int64_t sim_file_put(struct sim_link *link, uint32_t max)
{
    unsigned char piece[PIECE_BYTES];
    struct sim_file *file = sim_file_of(link->port->world, link->file->handle);
    if (file->size) file->bytes = file->size(file->user);
    int64_t bytes = readable(file, link->file->offset, max);
    for (int64_t done = 0; done < bytes;) {
        uint32_t len = bytes - done < PIECE_BYTES ? (uint32_t)(bytes - done) : PIECE_BYTES;
        file->read(file->user, link->file->offset + (uint64_t)done, piece, len);
        uint32_t put = sim_tcp_write(link->s, piece, len);
        assert(put == len);
        done += put;
    }
    return bytes;
}
