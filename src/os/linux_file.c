#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/error.h"
#include "sallyport/error.h"

_Static_assert(sizeof(off_t) == sizeof(int64_t), "files of any size");

static int file__failed(int sys, int *sys_error)
{
    int error = os_error_map(sys);
    *sys_error = sys;
    return error == SALLY_EACCES || error == SALLY_EEXHAUSTED ? error : SALLY_EFILE;
}

int os_file_judge(os_file file, uint64_t *bytes, int *sys_error)
{
    struct stat status;
    *sys_error = 0;
    if (file < 0 || file > INT_MAX) return file__failed(EBADF, sys_error);
    int flags = fcntl((int)file, F_GETFL);
    if (flags < 0 || fstat((int)file, &status) != 0) return file__failed(errno, sys_error);
    if (S_ISDIR(status.st_mode)) return file__failed(EISDIR, sys_error);
    if (!S_ISREG(status.st_mode)) return file__failed(EINVAL, sys_error);
    if ((flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH)) return file__failed(EBADF, sys_error);
    *bytes = (uint64_t)status.st_size;
    return 0;
}

/* O_NONBLOCK: a pipe without a writer must not hold us up before we know that it is one. */
int os_file_open(const char *path, os_file *file, uint64_t *bytes, int *sys_error)
{
    *file = OS_NO_FILE;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return file__failed(errno, sys_error);
    int err = os_file_judge(fd, bytes, sys_error);
    if (err)
        close(fd);
    else
        *file = fd;
    return err;
}

void os_file_close(os_file file) { close((int)file); }

int64_t os_file_read(os_file file, uint64_t offset, void *to, uint32_t len, int *sys_error)
{
    ssize_t got;
    *sys_error = 0;
    if (offset > (uint64_t)INT64_MAX - len) return 0; /* no file goes so far */
    do {
        got = pread((int)file, to, len, (off_t)offset);
    } while (got < 0 && errno == EINTR);
    if (got >= 0) return got;
    *sys_error = errno;
    return SALLY_EFILE;
}

void os_remove_socket_file(const char *path)
{
    struct stat status;
    if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode)) unlink(path);
}
