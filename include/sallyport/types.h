/* The nouns, and what declarations need. A part of sallyport.h, which includes it. */
#ifndef SALLYPORT_TYPES_H
#define SALLYPORT_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sallyport/error.h"

#if defined(__GNUC__)
#define SALLY_MUST_USE __attribute__((warn_unused_result))
#else
#define SALLY_MUST_USE
#endif

#define SALLY_FOREVER UINT32_MAX

typedef struct sally_engine sally_engine;
typedef struct sally_server sally_server;
typedef struct sally_conn sally_conn;
typedef struct sally_buf sally_buf;
typedef struct sally_framing sally_framing;             /* see sallyport/framing.h */
typedef struct sally_filter sally_filter;               /* sallyport/filter.h */
typedef struct sally_rates sally_rates;                 /* sallyport/rate.h */
typedef struct sally_bans sally_bans;                   /* sallyport/admission.h */
typedef struct sally_admission sally_admission;         /* sallyport/admission.h */
typedef struct sally_proxy_options sally_proxy_options; /* sallyport/proxy.h */
typedef struct sally_upstream sally_upstream;           /* sallyport/upstream.h */
typedef uint64_t sally_id;                              /* 0 names nothing */

#endif
