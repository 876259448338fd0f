#pragma once
// A backend whose code lies in a shared library of its own, because what is behind it (a vendor's
// graph compiler with all its libraries) is too large to load into every process: found and loaded
// when the first step for it is.

#include "slipway/backend.h"

namespace slipway::kernels {

// A backend that packages call `name` and that libslipway_NAME.so exports as a plugin does. The
// library is looked for in $SLIPWAY_BACKENDS, else beside the program, beside this library and in
// ../lib/slipway of both. Where it, or a library that it needs, is missing, load is Unsupported and
// says which and where it was looked for, and `remedy`: where such a library comes from. Lives as
// long as the process.
const slipway_backend* LazyBackend(const char* name, const char* version, const char* remedy = "");

}  // namespace slipway::kernels
