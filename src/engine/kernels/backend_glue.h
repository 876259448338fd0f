#pragma once
// What every backend of ours needs between the C interface (slipway/backend.h) and the C++ kernels.

#include <cstdio>
#include <exception>
#include <new>
#include <span>

#include "base/parallel.h"
#include "base/status.h"
#include "model/ops/tensor_view.h"
#include "slipway/backend.h"

namespace slipway::kernels {

// The loops of the session that runs a step.
class ExecutionParallel final : public Parallel {
 public:
  explicit ExecutionParallel(const slipway_execution& execution) : execution_(execution) {}
  void Run(int64_t count, int64_t grain, Body body, void* context) override {
    if (count > 0) execution_.parallel_for(execution_.pool, count, grain, body, context);
  }
  int threads() const override { return execution_.threads; }

 private:
  const slipway_execution& execution_;
};

inline std::span<const int64_t> DimsOf(const slipway_tensor& t) { return {t.dims, static_cast<size_t>(t.rank)}; }

inline ops::TensorView ToView(const slipway_tensor& t) {
  ops::TensorView v;
  v.dtype = static_cast<DType>(t.dtype);
  v.dims = Dims(DimsOf(t));
  v.data = t.data;
  return v;
}

// Fills *error and returns the code; 0 for an ok status.
inline int ToError(const Status& status, slipway_error* error) {
  if (status.ok()) return SLIPWAY_OK;
  error->code = static_cast<int32_t>(status.code());
  std::snprintf(error->message, sizeof(error->message), "%s", status.message().c_str());
  return error->code;
}

// Runs f, which returns a Status; what it throws becomes an error.
template <typename F>
int CatchToError(slipway_error* error, F&& f) {
  try {
    return ToError(f(), error);
  } catch (const std::bad_alloc&) {
    error->code = SLIPWAY_RESOURCE_EXHAUSTED;
    std::snprintf(error->message, sizeof(error->message), "out of memory");
  } catch (const std::exception& e) {
    error->code = SLIPWAY_INTERNAL;
    std::snprintf(error->message, sizeof(error->message), "%s", e.what());
  }
  return error->code;
}

// What a backend exports that has host memory alone and has finished when run returns.
constexpr slipway_backend HostBackend(const char* name, const char* version, decltype(slipway_backend::load) load,
                                      decltype(slipway_backend::unload) unload, decltype(slipway_backend::prepare) prepare,
                                      decltype(slipway_backend::release) release, decltype(slipway_backend::run) run,
                                      decltype(slipway_backend::output_dims) output_dims = nullptr) {
  slipway_backend b{};
  b.struct_size = sizeof(slipway_backend);
  b.abi_version = SLIPWAY_BACKEND_ABI_VERSION;
  b.name = name;
  b.version = version;
  b.load = load;
  b.unload = unload;
  b.prepare = prepare;
  b.release = release;
  b.run = run;
  b.output_dims = output_dims;
  return b;
}

}  // namespace slipway::kernels
