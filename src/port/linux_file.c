/* sendfile(2) on a socket that doesn't wait. The file's side does: what isn't in memory is read
 * from the disk within the call. No memory; the port's owner. */
#include "port/linux_file.h"

#include <errno.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

#include "os/error.h"
#include "sallyport/error.h"

_Static_assert(sizeof(off_t) == sizeof(int64_t), "files of any size");

/* Unlike send(2) the call has no MSG_NOSIGNAL, and a peer that has gone would be the program's end.
 * So SIGPIPE waits for the length of the call, and the one that it has raised is taken away; the
 * kernel sends it to the thread that made the call. */
static ssize_t send_quietly(int fd, int file, off_t offset, size_t bytes)
{
    sigset_t pipe, before;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    ssize_t sent;
    do {
        sent = sendfile(fd, file, &offset, bytes);
    } while (sent < 0 && errno == EINTR);
    int sys = errno;
    if (sent < 0 && sys == EPIPE) (void)sigtimedwait(&pipe, NULL, &(struct timespec){0});
    if (!sigismember(&before, SIGPIPE)) pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = sys;
    return sent;
}

/* Whose failure it was. The call doesn't say, and both sides have codes of any kind (a file of NFS
 * may time out too); so the file is asked by itself. */
static int judge(const struct port_file *file, int sys, int *sys_error)
{
    unsigned char byte;
    *sys_error = sys;
    if (sys == EINVAL || sys == ENOSYS || sys == EOVERFLOW) return SALLY_EFILE; /* its kind */
    if (pread((int)file->handle, &byte, 1, (off_t)file->offset) >= 0) return os_error_map(sys);
    *sys_error = errno;
    return SALLY_EFILE;
}

int64_t linux_send_file(int fd, const struct port_file *file, int *sys_error)
{
    size_t bytes =
        file->bytes < PORT_FILE_BYTES_MAX ? (size_t)file->bytes : (size_t)PORT_FILE_BYTES_MAX;
    *sys_error = 0;
    if (file->offset > (uint64_t)INT64_MAX - bytes) return SALLY_EFILEEND; /* no file goes so far */
    ssize_t sent = send_quietly(fd, (int)file->handle, (off_t)file->offset, bytes);
    if (sent > 0) return sent;
    if (sent == 0) return SALLY_EFILEEND;
    return errno == EAGAIN ? 0 : judge(file, errno, sys_error);
}
