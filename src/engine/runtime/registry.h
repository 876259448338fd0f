#pragma once
// The backends that packages may use, by name. Explicit registration: nothing registers itself.

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "slipway/backend.h"
#include "slipway/compiler.h"

namespace slipway::runtime {

// What a shared library that was loaded has brought.
struct Plugin {
  std::string path;
  std::string backend, backend_version;  // its run side, or empty
  std::string operators, operators_version;  // its set of operators, or empty
  slipway_compiler_entry compiler = nullptr;  // its compile side, which the runtime does not look at
};

class Registry {
 public:
  Registry() = default;
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // `backend` must outlive the registry. Errors: Unsupported (another ABI version), InvalidArgument (a missing name or function, a name that is taken).
  Status Add(const slipway_backend* backend);
  // Null when there is none.
  const slipway_backend* Find(std::string_view name) const;
  // Loads a shared library: adds the backend of its slipway_backend_main and the operators of its slipway_operators_main (all or nothing). The library stays
  // loaded as long as the process. Errors: NotFound (no such library, or none of the symbols), Unsupported (it cannot serve this ABI version, or this build has
  // no plugins), and those of Add and ops::RegisterOperators.
  Status LoadPlugin(const std::string& path);
  // In the order of loading.
  std::vector<Plugin> plugins() const;
  // In the order of registration.
  std::vector<const slipway_backend*> backends() const;

 private:
  Status Check(const slipway_backend* backend) const;
  Status AddFrom(void* library, const std::string& path);

  mutable std::mutex mutex_;
  std::vector<const slipway_backend*> backends_;
  std::vector<Plugin> plugins_;
};

// The backends that this build contains; defined in engine/backends/builtin.cc. Call once per registry.
Status RegisterBuiltinBackends(Registry& registry);

// The process's registry, with the built-in backends: what the C API uses.
Registry& GlobalRegistry();

// The status of a failed call of a backend.
Status FromBackend(int code, const slipway_error& error);

}  // namespace slipway::runtime
