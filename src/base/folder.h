#pragma once
// Folders to write into.

#include <string>

#include "base/status.h"

namespace slipway {

// Makes the folder and those above it where they are not there; an empty name is the current one.
// InvalidArgument names it and the reason.
Status MakeFolder(const std::string& folder);

}  // namespace slipway
