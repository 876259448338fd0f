#include "engine/runtime/registry.h"

#include <cstddef>
#include <cstring>

#include "base/log.h"
#include "model/ops/custom.h"

#ifndef SLIPWAY_NO_PLUGINS
#include <dlfcn.h>
#endif

namespace slipway::runtime {

Status Registry::Check(const slipway_backend* backend) const {
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
  return OkStatus();
}

Status Registry::Add(const slipway_backend* backend) {
  SLIPWAY_RETURN_IF_ERROR(Check(backend));
  std::lock_guard lock(mutex_);
  backends_.push_back(backend);
  return OkStatus();
}

std::vector<Plugin> Registry::plugins() const {
  std::lock_guard lock(mutex_);
  return plugins_;
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

Status Registry::AddFrom(void* library, const std::string& path) {
#ifdef SLIPWAY_NO_PLUGINS
  (void)library;
  (void)path;
  return OkStatus();
#else
  const auto backend_entry = reinterpret_cast<slipway_backend_entry>(::dlsym(library, SLIPWAY_BACKEND_ENTRY));
  const auto operators_entry = reinterpret_cast<slipway_operators_entry>(::dlsym(library, SLIPWAY_OPERATORS_ENTRY));
  Plugin plugin;
  plugin.path = path;
  plugin.compiler = reinterpret_cast<slipway_compiler_entry>(::dlsym(library, SLIPWAY_COMPILER_ENTRY));
  if (!backend_entry && !operators_entry && !plugin.compiler)
    return NotFound("has no function " SLIPWAY_BACKEND_ENTRY ", " SLIPWAY_OPERATORS_ENTRY " or " SLIPWAY_COMPILER_ENTRY "; it is no plugin");
  const slipway_backend* backend = nullptr;
  if (backend_entry) {
    backend = backend_entry(SLIPWAY_BACKEND_ABI_VERSION);
    if (!backend)
      return Unsupported("cannot serve version " + std::to_string(SLIPWAY_BACKEND_ABI_VERSION) +
                         " of the backend interface; get one that matches this runtime");
    SLIPWAY_RETURN_IF_ERROR(Check(backend));
    plugin.backend = backend->name;
    plugin.backend_version = backend->version ? backend->version : "";
  }
  if (operators_entry) {
    const slipway_operator_set* set = operators_entry(SLIPWAY_OPERATOR_ABI_VERSION);
    SLIPWAY_RETURN_IF_ERROR(ops::RegisterOperators(set, path.substr(path.find_last_of('/') + 1)));
    plugin.operators = set->name ? set->name : "operators";
    plugin.operators_version = set->version ? set->version : "";
  }
  if (backend) SLIPWAY_RETURN_IF_ERROR(Add(backend));
  std::lock_guard lock(mutex_);
  plugins_.push_back(std::move(plugin));
  return OkStatus();
#endif
}

Status Registry::LoadPlugin(const std::string& path) {
#ifdef SLIPWAY_NO_PLUGINS
  return Unsupported("plugin '" + path + "': this build of the runtime loads no plugins; take slipway-run-dynamic, or build it with SLIPWAY_PLUGINS=ON");
#else
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* why = ::dlerror();
    return NotFound("plugin '" + path + "': " + (why ? why : "cannot be loaded"));
  }
  Status loaded = AddFrom(library, path);
  if (!loaded.ok()) {
    ::dlclose(library);
    return std::move(loaded).With("plugin '" + path + "'");
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
