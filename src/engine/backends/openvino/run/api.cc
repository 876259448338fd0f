#include "engine/backends/openvino/run/api.h"

#include <dlfcn.h>

#include <cstdio>
#include <mutex>

#include "engine/kernels/vendor/library.h"

namespace slipway::openvino {
namespace {

// The first version that has ov_core_read_model_from_memory_buffer.
constexpr int kYear = 2023, kRelease = 2;
constexpr char kNeeded[] = "2023.2 or later is needed";

}  // namespace

Status Api::Take(Code code, const char* function) const {
  if (code == 0) return OkStatus();
  std::string message;
  if (last_error_) {
    if (const char* text = last_error_()) {
      message = kernels::OneLine(text);
      ov_free(text);
    }
  }
  if (message.empty()) {
    const char* text = ov_get_error_info(code);
    message = text ? text : "an error without a message";
  }
  return Unsupported("OpenVINO " + version_ + ": " + function + " (" + std::to_string(code) +
                     "): " + message);
}

std::string Api::DeviceNames() const {
  Devices devices{};
  if (ov_core_get_available_devices(core_, &devices) != 0) return {};
  std::string names;
  for (size_t i = 0; i < devices.size; ++i)
    names += (names.empty() ? "" : ", ") + std::string(devices.names[i] ? devices.names[i] : "");
  ov_available_devices_free(&devices);
  return names;
}

Status Api::Open() {
  SLIPWAY_ASSIGN_OR_RETURN(
      const kernels::OpenLibrary library,
      kernels::OpenVendorLibrary(
          {.whose = "OpenVINO",
           .variable = "SLIPWAY_OPENVINO",
           .names = {"libopenvino_c.so"},
           .remedy = "libopenvino_c.so of Intel's archives, with their setupvars.sh sourced; "
                     "docs/openvino.md"}));
  const std::string& file = library.name;
  const auto get_version =
      reinterpret_cast<Code (*)(Version*)>(::dlsym(library.handle, "ov_get_openvino_version"));
  if (!get_version)
    return Unsupported(file +
                       " is no OpenVINO: it has no ov_get_openvino_version; SLIPWAY_OPENVINO is to "
                       "name the file of its C interface, libopenvino_c.so");
  Version version{};
  const Code code = get_version(&version);
  version_ = code == 0 && version.build ? version.build : "of an unknown version";
  int year = 0, release = 0;
  if (std::sscanf(version_.c_str(), "%d.%d", &year, &release) == 2 && year >= 2000 &&
      (year < kYear || (year == kYear && release < kRelease)))
    return Unsupported("OpenVINO " + version_ + " is too old: " + kNeeded);
#define SLIPWAY_OPENVINO_FIND(result, name, arguments)                     \
  name = reinterpret_cast<decltype(name)>(::dlsym(library.handle, #name)); \
  if (!name)                                                               \
    return Unsupported("OpenVINO " + version_ + " (" + file + ") has no " #name ": " + kNeeded);
  SLIPWAY_OPENVINO_FUNCTIONS(SLIPWAY_OPENVINO_FIND)
#undef SLIPWAY_OPENVINO_FIND
  last_error_ = reinterpret_cast<const char* (*)()>(::dlsym(library.handle, "ov_get_last_err_msg"));
  if (code == 0) ov_version_free(&version);
  return SLIPWAY_OPENVINO_CALL(*this, ov_core_create, &core_);
}

Result<const Api*> Api::Get() {
  static std::once_flag once;
  static Api* api = new Api;  // never destroyed: its threads may outlive static objects
  static Status status;
  std::call_once(once, [] { status = api->Open(); });
  SLIPWAY_RETURN_IF_ERROR(status);
  return const_cast<const Api*>(api);
}

}  // namespace slipway::openvino
