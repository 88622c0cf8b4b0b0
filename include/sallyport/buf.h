/* Shared bytes. A part of sallyport.h, which includes it. */
#ifndef SALLYPORT_BUF_H
#define SALLYPORT_BUF_H

#include "sallyport/types.h"

#if defined(__cplusplus)
extern "C" {
#endif

/* Bytes with a reference count, one copy for many receivers. Made with one reference; written only
 * before it is sent for the first time. NULL without memory. [any] */
SALLY_API sally_buf *sally_buf_create(sally_engine *engine, size_t len);
SALLY_API void *sally_buf_data(sally_buf *buf);
SALLY_API size_t sally_buf_len(const sally_buf *buf);
SALLY_API sally_buf *sally_buf_ref(sally_buf *buf);
SALLY_API void sally_buf_release(sally_buf *buf);

#if defined(__cplusplus)
}
#endif
#endif
