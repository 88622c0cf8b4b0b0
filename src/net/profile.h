/* Profiles: groups of engine options under one name. No state. */
#ifndef NET_PROFILE_H
#define NET_PROFILE_H

#include "sallyport.h"

/* Sets what the profile sets where it is 0. SALLY_EINVAL for a profile that there is not. */
int profile_apply(sally_engine_options *options);

#endif
