#pragma once
// A vendor's own library, which a backend's module looks for when it runs.

#include <dlfcn.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "base/status.h"

namespace slipway::kernels {

struct VendorLibrary {
  std::string whose;               // "ONNX Runtime"
  std::string variable;            // of the environment: names its file
  std::vector<std::string> names;  // what the system may find where the variable is not set
  std::string remedy;              // where such a file comes from
};

struct OpenLibrary {
  void* handle = nullptr;  // stays open
  std::string name;        // what was opened
};

// Unsupported: what was tried, why it failed, and what to do.
inline Result<OpenLibrary> OpenVendorLibrary(const VendorLibrary& library) {
  std::vector<std::string> names = library.names;
  if (const char* given = std::getenv(library.variable.c_str()); given && *given) names = {given};
  std::string tried;
  for (const std::string& name : names) {
    if (void* handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL))
      return OpenLibrary{handle, name};
    const char* why = ::dlerror();
    tried += (tried.empty() ? "" : "; ") + std::string(why ? why : name.c_str());
  }
  return Unsupported(library.whose + " is not on this machine (" + tried +
                     "); name the file of its library in " + library.variable + " (" +
                     library.remedy + "), or compile for another platform");
}

// Libraries write messages of several lines; ours have one.
inline std::string OneLine(std::string message) {
  for (char& c : message) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  while (!message.empty() && message.back() == ' ') message.pop_back();
  return message;
}

}  // namespace slipway::kernels
