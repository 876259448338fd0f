#include "engine/runtime/registry.h"

#include <cstddef>
#include <cstring>

#include "base/log.h"

#ifndef SLIPWAY_NO_PLUGINS
#include <dlfcn.h>
#endif

namespace slipway::runtime {

Status Registry::Add(const slipway_backend* backend) {
  if (!backend) return InvalidArgument("backend: null");
  // Of another version, only the two first fields may be read.
  if (backend->abi_version != SLIPWAY_BACKEND_ABI_VERSION) {
    return Unsupported("backend: built for version " + std::to_string(backend->abi_version) + " of the backend interface, this runtime has " +
                       std::to_string(SLIPWAY_BACKEND_ABI_VERSION) + "; get one that matches");
  }
  if (backend->struct_size < offsetof(slipway_backend, sync) + sizeof(backend->sync)) {
    return InvalidArgument("backend: struct_size " + std::to_string(backend->struct_size) + " is smaller than version " +
                           std::to_string(SLIPWAY_BACKEND_ABI_VERSION) + " of slipway_backend; set it to sizeof");
  }
  if (!backend->name || !*backend->name) return InvalidArgument("backend: no name");
  const std::string name = backend->name;
  if (!backend->load || !backend->unload || !backend->prepare || !backend->release || !backend->run) {
    return InvalidArgument("backend '" + name + "': load, unload, prepare, release and run must all be set");
  }
  std::lock_guard lock(mutex_);
  for (const slipway_backend* other : backends_) {
    if (name == other->name) return InvalidArgument("backend '" + name + "' is registered already");
  }
  backends_.push_back(backend);
  return OkStatus();
}

const slipway_backend* Registry::Find(std::string_view name) const {
  std::lock_guard lock(mutex_);
  for (const slipway_backend* b : backends_) {
    if (name == b->name) return b;
  }
  return nullptr;
}

std::vector<const slipway_backend*> Registry::backends() const {
  std::lock_guard lock(mutex_);
  return backends_;
}

Status Registry::LoadPlugin(const std::string& path) {
#ifdef SLIPWAY_NO_PLUGINS
  return Unsupported("plugin '" + path + "': this build of the runtime loads no plugins; build it with SLIPWAY_PLUGINS=ON");
#else
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* why = ::dlerror();
    return NotFound("plugin '" + path + "': " + (why ? why : "cannot be loaded"));
  }
  auto entry = reinterpret_cast<slipway_backend_entry>(::dlsym(library, SLIPWAY_BACKEND_ENTRY));
  if (!entry) {
    ::dlclose(library);
    return NotFound("plugin '" + path + "': has no function " SLIPWAY_BACKEND_ENTRY "; it is not a backend");
  }
  const slipway_backend* backend = entry(SLIPWAY_BACKEND_ABI_VERSION);
  Status added = backend ? Add(backend)
                         : Unsupported("cannot serve version " + std::to_string(SLIPWAY_BACKEND_ABI_VERSION) +
                                       " of the backend interface; get one that matches this runtime");
  if (!added.ok()) {
    ::dlclose(library);
    return std::move(added).With("plugin '" + path + "'");
  }
  return OkStatus();
#endif
}

Registry& GlobalRegistry() {
  static Registry* registry = [] {
    auto* r = new Registry;  // never destroyed: packages may outlive static objects
    Status status = RegisterBuiltinBackends(*r);
    if (!status.ok()) Log(LogLevel::kError, status.ToString());
    return r;
  }();
  return *registry;
}

Status FromBackend(int code, const slipway_error& error) {
  if (code == 0) return OkStatus();
  const bool known = code >= SLIPWAY_INVALID_ARGUMENT && code <= SLIPWAY_INTERNAL;
  // A plugin may have forgotten the terminator.
  std::string message(error.message, ::strnlen(error.message, sizeof(error.message)));
  if (message.empty()) message = "failed with code " + std::to_string(code) + " and no message";
  return Status(known ? static_cast<StatusCode>(code) : StatusCode::kInternal, std::move(message));
}

}  // namespace slipway::runtime
