// include/slipway.h over the classes of this folder. No exception leaves it.

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>

#include "engine/runtime/registry.h"
#include "engine/runtime/session.h"
#include "slipway.h"

using slipway::Result;
using slipway::Status;
using slipway::runtime::Package;
using slipway::runtime::Session;

struct slipway_package {
  std::shared_ptr<const Package> package;
};
struct slipway_session {
  std::unique_ptr<Session> session;
};

static_assert(SLIPWAY_SEQUENCE == static_cast<int>(slipway::format::Container::kSequence) &&
              SLIPWAY_OPTIONAL == static_cast<int>(slipway::format::Container::kOptional) &&
              SLIPWAY_OPTIONAL_SEQUENCE == static_cast<int>(slipway::format::Container::kOptionalSequence));
static_assert(SLIPWAY_MAX_RANK == slipway::kMaxRank);

namespace {

int Report(int code, const char* message, slipway_error* error) {
  if (error) {
    error->code = code;
    std::snprintf(error->message, sizeof(error->message), "%s", message);
  }
  return code;
}

int Report(const Status& status, slipway_error* error) {
  return Report(static_cast<int>(status.code()), status.message().c_str(), error);
}

// Runs f, which returns a Status, and reports what it says or throws.
template <typename F>
int Guard(slipway_error* error, F&& f) {
  try {
    const Status status = f();
    return status.ok() ? 0 : Report(status, error);
  } catch (const std::bad_alloc&) {
    return Report(SLIPWAY_RESOURCE_EXHAUSTED, "out of memory", error);
  } catch (const std::exception& e) {
    return Report(SLIPWAY_INTERNAL, e.what(), error);
  }
}

Status Missing(const char* what) { return slipway::InvalidArgument(std::string(what) + " is null"); }

int Describe(const slipway_package* package, const std::vector<int>& list, uint32_t index, slipway_tensor_info* info) {
  if (!info || index >= list.size()) return SLIPWAY_INVALID_ARGUMENT;
  const auto i = static_cast<size_t>(list[index]);
  const auto& tensor = package->package->data().tensors[i];
  std::memset(info, 0, sizeof(*info));
  info->name = tensor.name.c_str();
  info->dtype = static_cast<uint32_t>(tensor.dtype);
  info->rank = static_cast<int32_t>(tensor.shape.size());
  for (size_t d = 0; d < tensor.shape.size(); ++d) {
    const bool known = tensor.shape[d].known();
    info->dims[d] = known ? tensor.shape[d].value() : -1;
    info->dim_names[d] = known ? nullptr : package->package->dim_names(i)[d].c_str();
  }
  return 0;
}

int ContainerOf(const slipway_package* package, const std::vector<int>& list, uint32_t index) {
  if (index >= list.size()) return -1;
  return static_cast<int>(package->package->data().tensors[static_cast<size_t>(list[index])].container);
}

int Wrap(Result<std::shared_ptr<const Package>> loaded, slipway_package** package, slipway_error* error) {
  if (!loaded.ok()) return Report(loaded.status(), error);
  *package = new slipway_package{std::move(*loaded)};
  return 0;
}

int Get(Result<slipway_tensor> found, slipway_tensor* tensor, slipway_error* error) {
  if (!found.ok()) return Report(found.status(), error);
  *tensor = *found;
  return 0;
}

// As Guard, for f that reports by itself.
template <typename F>
int Catch(slipway_error* error, F&& f) {
  int code = 0;
  const int thrown = Guard(error, [&] {
    code = f();
    return slipway::OkStatus();
  });
  return thrown ? thrown : code;
}

}  // namespace

extern "C" {

const char* slipway_version(void) { return SLIPWAY_VERSION; }

int slipway_package_load(const char* path, slipway_package** package, slipway_error* error) {
  if (!path || !package) return Catch(error, [&] { return Report(Missing(path ? "package" : "path"), error); });
  *package = nullptr;
  return Catch(error, [&] { return Wrap(Package::Load(path, slipway::runtime::GlobalRegistry()), package, error); });
}

int slipway_package_load_memory(const void* bytes, size_t size, slipway_package** package, slipway_error* error) {
  if (!bytes || !package) return Catch(error, [&] { return Report(Missing(bytes ? "package" : "bytes"), error); });
  *package = nullptr;
  return Catch(error, [&] {
    return Wrap(Package::FromMemory({static_cast<const uint8_t*>(bytes), size}, nullptr, slipway::runtime::GlobalRegistry()), package,
                error);
  });
}

void slipway_package_free(slipway_package* package) { delete package; }

int slipway_load_plugin(const char* path, slipway_error* error) {
  return Guard(error, [&] { return path ? slipway::runtime::GlobalRegistry().LoadPlugin(path) : Missing("path"); });
}

uint32_t slipway_package_num_inputs(const slipway_package* package) {
  return package ? static_cast<uint32_t>(package->package->data().inputs.size()) : 0;
}
uint32_t slipway_package_num_outputs(const slipway_package* package) {
  return package ? static_cast<uint32_t>(package->package->data().outputs.size()) : 0;
}
int slipway_package_input(const slipway_package* package, uint32_t index, slipway_tensor_info* info) {
  return package ? Describe(package, package->package->data().inputs, index, info) : SLIPWAY_INVALID_ARGUMENT;
}
int slipway_package_output(const slipway_package* package, uint32_t index, slipway_tensor_info* info) {
  return package ? Describe(package, package->package->data().outputs, index, info) : SLIPWAY_INVALID_ARGUMENT;
}

int slipway_package_input_container(const slipway_package* package, uint32_t index) {
  return package ? ContainerOf(package, package->package->data().inputs, index) : -1;
}
int slipway_package_output_container(const slipway_package* package, uint32_t index) {
  return package ? ContainerOf(package, package->package->data().outputs, index) : -1;
}

const char* slipway_package_provenance(const slipway_package* package, const char* key) {
  if (!package || !key) return nullptr;
  for (const auto& [k, v] : package->package->data().provenance) {
    if (k == key) return v.c_str();
  }
  return nullptr;
}

void slipway_session_options_init(slipway_session_options* options) {
  if (!options) return;
  std::memset(options, 0, sizeof(*options));
  options->struct_size = sizeof(*options);
  options->threads = 1;
  options->spin = -1;
  options->yield = -1;
}

int slipway_session_create(slipway_package* package, const slipway_session_options* options, slipway_session** session,
                           slipway_error* error) {
  return Guard(error, [&]() -> Status {
    if (!package || !session) return Missing(package ? "session" : "package");
    *session = nullptr;
    slipway_session_options given;
    slipway_session_options_init(&given);
    if (options) {
      if (options->struct_size < sizeof(uint32_t)) {
        return slipway::InvalidArgument("session options: struct_size is not set; call slipway_session_options_init first");
      }
      // A caller of another version knows fewer or more fields.
      std::memcpy(&given, options, std::min<size_t>(options->struct_size, sizeof(given)));
    }
    slipway::runtime::SessionOptions to;
    to.threads = given.threads;
    to.pin = given.pin;
    to.profile = given.profile;
    to.spin = given.spin;
    to.yield = given.yield;
    if (given.max_iterations != 0) to.max_iterations = given.max_iterations;
    SLIPWAY_ASSIGN_OR_RETURN(auto made, Session::Create(package->package, to));
    *session = new slipway_session{std::move(made)};
    return slipway::OkStatus();
  });
}

void slipway_session_free(slipway_session* session) { delete session; }

int slipway_session_set_shape(slipway_session* session, const char* name, const int64_t* dims, int32_t rank, slipway_error* error) {
  return Guard(error, [&]() -> Status {
    if (!session || !name) return Missing(session ? "name" : "session");
    if (rank < 0 || rank > SLIPWAY_MAX_RANK || (rank > 0 && !dims)) {
      return slipway::InvalidArgument("input '" + std::string(name) + "': rank " + std::to_string(rank) + " is not between 0 and 12");
    }
    return session->session->SetShape(name, {dims, static_cast<size_t>(rank)});
  });
}

int slipway_session_input(slipway_session* session, const char* name, slipway_tensor* tensor, slipway_error* error) {
  return Catch(error, [&] {
    if (!session || !name || !tensor) return Report(Missing("session, name or tensor"), error);
    return Get(session->session->Input(name), tensor, error);
  });
}

int slipway_session_output(slipway_session* session, const char* name, slipway_tensor* tensor, slipway_error* error) {
  return Catch(error, [&] {
    if (!session || !name || !tensor) return Report(Missing("session, name or tensor"), error);
    return Get(session->session->Output(name), tensor, error);
  });
}

int slipway_session_bind(slipway_session* session, const char* name, void* data, size_t bytes, slipway_error* error) {
  return Guard(error, [&]() -> Status {
    if (!session || !name) return Missing(session ? "name" : "session");
    return session->session->Bind(name, data, bytes);
  });
}

int slipway_session_set_length(slipway_session* session, const char* name, int64_t length, slipway_error* error) {
  return Guard(error, [&]() -> Status {
    if (!session || !name) return Missing(session ? "name" : "session");
    return session->session->SetLength(name, length);
  });
}

int slipway_session_set_item(slipway_session* session, const char* name, int64_t index, const int64_t* dims, int32_t rank, slipway_tensor* tensor,
                             slipway_error* error) {
  return Catch(error, [&] {
    if (!session || !name || !tensor) return Report(Missing("session, name or tensor"), error);
    if (rank < 0 || rank > SLIPWAY_MAX_RANK || (rank > 0 && !dims)) {
      return Report(slipway::InvalidArgument("input '" + std::string(name) + "': rank " + std::to_string(rank) + " is not between 0 and 12"), error);
    }
    return Get(session->session->SetItem(name, index, {dims, static_cast<size_t>(rank)}), tensor, error);
  });
}

int slipway_session_length(slipway_session* session, const char* name, int64_t* length, slipway_error* error) {
  return Guard(error, [&]() -> Status {
    if (!session || !name || !length) return Missing("session, name or length");
    SLIPWAY_ASSIGN_OR_RETURN(*length, session->session->Length(name));
    return slipway::OkStatus();
  });
}

int slipway_session_item(slipway_session* session, const char* name, int64_t index, slipway_tensor* tensor, slipway_error* error) {
  return Catch(error, [&] {
    if (!session || !name || !tensor) return Report(Missing("session, name or tensor"), error);
    return Get(session->session->Item(name, index), tensor, error);
  });
}

int slipway_session_run(slipway_session* session, slipway_error* error) {
  return Guard(error, [&]() -> Status { return session ? session->session->Run() : Missing("session"); });
}

uint32_t slipway_session_num_steps(const slipway_session* session) {
  return session ? static_cast<uint32_t>(session->session->rows().size()) : 0;
}

int slipway_session_profile(const slipway_session* session, uint32_t index, slipway_step_profile* profile) {
  if (!session || !profile || index >= session->session->rows().size()) return SLIPWAY_INVALID_ARGUMENT;
  const Session::StepRow& row = session->session->rows()[index];
  const auto& step = *row.step;
  const auto& times = *row.profile;
  profile->name = row.name.c_str();
  profile->op = step.op.c_str();
  profile->backend = row.backend;
  profile->kernel = step.kernel.c_str();
  profile->runs = times.runs;
  profile->total_ms = times.total_ms;
  profile->min_ms = times.min_ms;
  profile->macs = *row.macs;
  return 0;
}

int slipway_session_step_cost(const slipway_session* session, uint32_t index, slipway_step_cost* cost) {
  if (!session || !cost || cost->struct_size < sizeof(uint32_t) || index >= session->session->rows().size()) {
    return SLIPWAY_INVALID_ARGUMENT;
  }
  const auto& row = session->session->rows()[index];
  slipway_step_cost c{};
  c.struct_size = cost->struct_size;
  c.macs = *row.macs;
  for (const slipway_tensor& t : *row.inputs) {
    if (c.dtype == 0) c.dtype = t.dtype;
    c.bytes_read += t.bytes;
  }
  for (const slipway_tensor& t : *row.outputs) {
    if (c.dtype == 0) c.dtype = t.dtype;
    c.bytes_written += t.bytes;
  }
  std::memcpy(cost, &c, std::min<size_t>(cost->struct_size, sizeof c));
  return SLIPWAY_OK;
}

void slipway_session_reset_profile(slipway_session* session) {
  if (session) session->session->ResetProfile();
}

uint64_t slipway_session_memory(const slipway_session* session) { return session ? session->session->memory_bytes() : 0; }

}  // extern "C"
