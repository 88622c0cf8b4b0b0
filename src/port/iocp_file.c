/* Sending a file: TransmitFile, a bounded part at a time. No memory; only the owning thread.
 *
 * The file's length is asked for before each part. So a file that ends where the part begins is
 * told without anything having been sent, and "0 bytes", which the system takes for the whole file,
 * is never asked for (Microsoft's page of TransmitFile). One that is cut shorter just then ends the
 * part with what was left of it, or with an error after an unknown number of bytes: then the
 * connection is finished. */
#include "os/error.h"
#include "port/iocp.h"
#include "sallyport/error.h"

/* How many bytes of the part are there, or SALLY_E*. */
static int64_t part_of(struct iocp_port *port, const struct port_file *file, int *sys)
{
    uint64_t bytes = 0;
    *sys = IOCP_CALL(port, file_bytes, file->handle, &bytes);
    if (*sys) return SALLY_EFILE;
    if (file->offset >= bytes) return SALLY_EFILEEND;
    uint64_t part = bytes - file->offset;
    if (part > file->bytes) part = file->bytes;
    return part < PORT_FILE_BYTES_MAX ? (int64_t)part : (int64_t)PORT_FILE_BYTES_MAX;
}

void iocp_send_file(struct port *base, struct port_sock *sock, const struct port_file *file)
{
    struct iocp_port *port = iocp_of(base);
    struct iocp_own *own = iocp_own(sock);
    iocp_assert_owner(port);
    assert(sock->state == IOCP_OPEN);
    sock->in_flight |= iocp_bit(PORT_SEND);
    int sys = own->attach_sys;
    int64_t part = sys ? iocp_error(sys) : part_of(port, file, &sys);
    if (part > 0) {
        iocp_prepare(&own->out, PORT_SEND, IOCP_OUT);
        own->out.of_file = (uint32_t)part;
        own->out.overlapped.offset = file->offset;
        sys = IOCP_CALL(port, transmit, sock->handle, file->handle, (uint32_t)part,
                        &own->out.overlapped);
        if (iocp_started(port, sock, &own->out, sys)) return;
        part = iocp_error(sys);
    }
    iocp_end(port, sock, PORT_SEND, (int)part, sys);
}
