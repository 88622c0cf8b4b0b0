/* Open files with a reference count; see file.h. The memory is the engine's. */
#include "net/file.h"

#include "net/engine.h"

/* Takes the descriptor over; NULL without memory. */
static sally_file *file__create(sally_engine *engine, os_file handle, uint64_t bytes)
{
    const struct host *host = &engine->host;
    sally_file *file = mem_alloc(&engine->mem, sizeof *file);
    if (!file) return NULL;
    *file = (sally_file){.engine = engine, .file = handle, .shown = handle, .bytes = bytes};
    atomic_init(&file->refs, 1);
    if (host->file_take) file->shown = host->file_take(host->ctx, handle, bytes);
    return file;
}

int sally_file_open(sally_engine *engine, const char *path, sally_file **file, int *sys_error)
{
    os_file handle;
    uint64_t bytes = 0;
    int sys = 0;
    if (sys_error) *sys_error = 0;
    if (!engine || !path || !file) return SALLY_EINVAL;
    *file = NULL;
    int err = os_file_open(path, &handle, &bytes, &sys);
    if (sys_error) *sys_error = sys;
    if (err) return err;
    *file = file__create(engine, handle, bytes);
    if (!*file) os_file_close(handle);
    return *file ? 0 : SALLY_ENOMEM;
}

int sally_file_from_fd(sally_engine *engine, int64_t fd, sally_file **file, int *sys_error)
{
    uint64_t bytes = 0;
    int sys = 0;
    if (sys_error) *sys_error = 0;
    if (!engine || !file) return SALLY_EINVAL;
    *file = NULL;
    int err = os_file_judge((os_file)fd, &bytes, &sys);
    if (sys_error) *sys_error = sys;
    if (err) return err;
    *file = file__create(engine, (os_file)fd, bytes);
    return *file ? 0 : SALLY_ENOMEM;
}

uint64_t sally_file_size(const sally_file *file) { return file ? file->bytes : 0; }

sally_file *sally_file_ref(sally_file *file)
{
    if (file) atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
    return file;
}

void sally_file_release(sally_file *file)
{
    if (!file || atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) != 1) return;
    const struct host *host = &file->engine->host;
    if (host->file_drop) host->file_drop(host->ctx, file->shown);
    os_file_close(file->file);
    mem_free(&file->engine->mem, file, sizeof *file);
}
