#include "engine/kernels/vendor/vendor.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/kernels/backend_glue.h"

namespace slipway::kernels {
namespace {

namespace fs = std::filesystem;

struct Lazy {
  std::string name, version, remedy;
  slipway_backend front{};
  std::once_flag once;
  const slipway_backend* behind = nullptr;
  Status status;
};

std::vector<fs::path> Folders() {
  if (const char* given = std::getenv("SLIPWAY_BACKENDS")) return {given};
  std::vector<fs::path> folders;
  std::error_code error;
  const auto add = [&](const fs::path& file) {
    folders.push_back(file.parent_path());
    folders.push_back(file.parent_path() / "../lib/slipway");
  };
  if (const fs::path program = fs::read_symlink("/proc/self/exe", error); !error) add(program);
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&Folders), &info) && info.dli_fname)
    add(fs::absolute(info.dli_fname, error));
  return folders;
}

Status Open(Lazy& lazy) {
  const std::string library = "libslipway_" + lazy.name + ".so";
  const std::string remedy = lazy.remedy.empty() ? "" : "; " + lazy.remedy;
  std::string tried;
  for (const fs::path& folder : Folders()) {
    const std::string path = (folder / library).lexically_normal().string();
    std::error_code error;
    if (!fs::exists(path, error)) {
      if (tried.find(path) == std::string::npos) tried += (tried.empty() ? "" : ", ") + path;
      continue;
    }
    void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
      const char* why = ::dlerror();
      return Unsupported("the backend '" + lazy.name +
                         "' cannot be loaded on this machine: " + (why ? why : path) + remedy);
    }
    const auto entry =
        reinterpret_cast<slipway_backend_entry>(::dlsym(handle, SLIPWAY_BACKEND_ENTRY));
    const slipway_backend* backend = entry ? entry(SLIPWAY_BACKEND_ABI_VERSION) : nullptr;
    if (!backend || !backend->load || !backend->unload || !backend->prepare || !backend->release ||
        !backend->run) {
      ::dlclose(handle);
      return Unsupported(path +
                         " is no backend for this version of the runtime; build both together");
    }
    lazy.behind = backend;
    return OkStatus();
  }
  return Unsupported("the backend '" + lazy.name + "' is not on this machine: there is no " +
                     tried + remedy +
                     "; install it there, name its folder in SLIPWAY_BACKENDS, or compile for "
                     "another platform");
}

int Load(void* context, const slipway_step* step, void** program, slipway_error* error) {
  Lazy& lazy = *static_cast<Lazy*>(context);
  const int code = CatchToError(error, [&] {
    std::call_once(lazy.once, [&] { lazy.status = Open(lazy); });
    return lazy.status;
  });
  if (code != SLIPWAY_OK) return code;
  return lazy.behind->load(lazy.behind->context, step, program, error);
}

// The others are called for what load has made only.
const slipway_backend& Behind(void* context) { return *static_cast<Lazy*>(context)->behind; }

void Unload(void* context, void* program) {
  Behind(context).unload(Behind(context).context, program);
}

int Prepare(void* context, void* program, const slipway_step* step,
            slipway_requirements* requirements, void** bound, slipway_error* error) {
  return Behind(context).prepare(Behind(context).context, program, step, requirements, bound,
                                 error);
}

void Release(void* context, void* bound) {
  Behind(context).release(Behind(context).context, bound);
}

int Run(void* context, void* bound, const slipway_tensor* inputs, const slipway_tensor* outputs,
        const slipway_execution* execution, slipway_error* error) {
  return Behind(context).run(Behind(context).context, bound, inputs, outputs, execution, error);
}

}  // namespace

const slipway_backend* LazyBackend(const char* name, const char* version, const char* remedy) {
  auto* lazy = new Lazy;  // never destroyed: packages may outlive static objects
  lazy->name = name;
  lazy->version = version;
  lazy->remedy = remedy;
  lazy->front = {.struct_size = sizeof(slipway_backend),
                 .abi_version = SLIPWAY_BACKEND_ABI_VERSION,
                 .name = lazy->name.c_str(),
                 .version = lazy->version.c_str(),
                 .context = lazy,
                 .num_memory_kinds = 0,
                 .memory_kinds = nullptr,
                 .load = Load,
                 .unload = Unload,
                 .prepare = Prepare,
                 .release = Release,
                 .run = Run,
                 .sync = nullptr,
                 .output_dims = nullptr};
  return &lazy->front;
}

}  // namespace slipway::kernels
