#include "engine/backends/onnxruntime/run/api.h"

#include <dlfcn.h>

#include <mutex>

#include "engine/kernels/vendor/library.h"

namespace slipway::ort {
namespace {

// OrtApiBase: its two functions have stayed as they are.
struct ApiBase {
  void* const* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};
// Of ONNX Runtime 1.12, the first that reads opset 17.
constexpr uint32_t kVersion = 12;
constexpr int kFatal = 4;  // of its log: it writes to the terminal otherwise

}  // namespace

Status Api::Take(OrtStatus* status) const {
  if (!status) return OkStatus();
  const char* text =
      reinterpret_cast<const char* (*)(const OrtStatus*)>(table_[kGetErrorMessage])(status);
  std::string message = text ? text : "an error without a message";
  Release(kReleaseStatus, status);
  return Unsupported("ONNX Runtime " + version_ + ": " + kernels::OneLine(std::move(message)));
}

Status Api::Open() {
  SLIPWAY_ASSIGN_OR_RETURN(
      const kernels::OpenLibrary library,
      kernels::OpenVendorLibrary({.whose = "ONNX Runtime",
                                  .variable = "SLIPWAY_ONNXRUNTIME",
                                  .names = {"libonnxruntime.so.1", "libonnxruntime.so"},
                                  .remedy = "npm's package onnxruntime-node has one"}));
  const auto base =
      reinterpret_cast<const ApiBase* (*)()>(::dlsym(library.handle, "OrtGetApiBase"));
  const ApiBase* given = base ? base() : nullptr;
  if (!given || !given->GetApi || !given->GetVersionString)
    return Unsupported(library.name + " is no ONNX Runtime: it has no OrtGetApiBase");
  version_ = given->GetVersionString();
  table_ = given->GetApi(kVersion);
  if (!table_)
    return Unsupported("ONNX Runtime " + version_ + " is too old: 1.12 or later is needed");
  SLIPWAY_RETURN_IF_ERROR(
      Call(kCreateEnv, int{kFatal}, static_cast<const char*>("slipway"), &env_));
  constexpr int kArena = 1, kDefault = 0;  // the type of allocator and of memory
  return Call(kCreateCpuMemoryInfo, int{kArena}, int{kDefault}, &cpu_);
}

Result<const Api*> Api::Get() {
  static std::once_flag once;
  static Api* api = new Api;  // never destroyed: its threads may outlive static objects
  static Status status;
  std::call_once(once, [] { status = api->Open(); });
  SLIPWAY_RETURN_IF_ERROR(status);
  return const_cast<const Api*>(api);
}

}  // namespace slipway::ort
