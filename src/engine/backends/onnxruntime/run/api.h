#pragma once
// The part of ONNX Runtime's C interface that the backend calls, found at run time.
//
// Its library exports OrtGetApiBase; what that gives has GetApi(version), whose answer is a table
// of functions that only grows at its end (onnxruntime_c_api.h, struct OrtApi). So a position in
// that table means the same in all versions since 1.0, and no header of ONNX Runtime is needed to
// build. Positions below were read in the header of version 1.13, those from 125 on counted in the
// table of onnxruntime_c_api.cc, and are held by tests that call them.

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace slipway::ort {

struct OrtStatus;
struct OrtEnv;
struct OrtSession;
struct OrtSessionOptions;
struct OrtMemoryInfo;
struct OrtValue;

// Positions in the table.
enum Function : int {
  kGetErrorMessage = 2,
  kCreateEnv = 3,
  kCreateSessionFromArray = 8,
  kRun = 9,
  kCreateSessionOptions = 10,
  kSetSessionLogSeverityLevel = 22,
  kSetSessionGraphOptimizationLevel = 23,
  kSetIntraOpNumThreads = 24,
  kSetInterOpNumThreads = 25,
  kSessionGetInputCount = 30,
  kSessionGetOutputCount = 31,
  kCreateTensorWithDataAsOrtValue = 49,
  kCreateCpuMemoryInfo = 69,
  kReleaseStatus = 93,
  kReleaseSession = 95,
  kReleaseValue = 96,
  kReleaseSessionOptions = 100,
  kGetAvailableProviders = 125,
  kReleaseAvailableProviders = 126,
  kAppendExecutionProviderTensorRT = 170,  // ..._TensorRT_V2
  kCreateTensorRTProviderOptions = 171,
  kUpdateTensorRTProviderOptions = 172,
  kReleaseTensorRTProviderOptions = 174,
  kAppendExecutionProviderCUDA = 204,  // ..._CUDA_V2
  kCreateCUDAProviderOptions = 205,
  kUpdateCUDAProviderOptions = 206,
  kReleaseCUDAProviderOptions = 208,
  kAppendExecutionProvider = 216,  // by name
};

class Api {
 public:
  // The library is $SLIPWAY_ONNXRUNTIME (its file) where that is set, else what the system finds as
  // libonnxruntime.so.1 or libonnxruntime.so. Loaded once a process. Unsupported says what was
  // tried and what to do.
  static Result<const Api*> Get();

  const std::string& version() const { return version_; }
  OrtEnv* env() const { return env_; }
  const OrtMemoryInfo* cpu() const { return cpu_; }

  // Calls a function that answers with a status; Unsupported with its message when it fails.
  template <typename... Args>
  Status Call(Function which, Args... args) const {
    auto* f = reinterpret_cast<OrtStatus* (*)(Args...)>(table_[which]);
    return Take(f(args...));
  }
  template <typename T>
  void Release(Function which, T* what) const {
    if (what) reinterpret_cast<void (*)(T*)>(table_[which])(what);
  }

 private:
  Status Open();
  Status Take(OrtStatus* status) const;

  void* const* table_ = nullptr;
  OrtEnv* env_ = nullptr;
  OrtMemoryInfo* cpu_ = nullptr;
  std::string version_;
};

}  // namespace slipway::ort
