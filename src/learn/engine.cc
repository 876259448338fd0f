// What programs get of libslipway_learn.so.

#include <malloc.h>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/version.h>

#include <algorithm>
#include <new>
#include <thread>

#include "learn/abi.h"
#include "learn/call.h"
#include "learn/learn.h"
#include "learn/reconstruct.h"
#include "learn/torch_module.h"

namespace slipway::learn {
namespace {

// What torch throws (memory that is not there, among others) ends here.
template <typename F>
auto Guarded(F&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("learning: out of memory; use a smaller batch or fewer samples");
  } catch (const std::exception& e) {
    const std::string_view text = e.what();
    return Internal("learning: " + std::string(text.substr(0, text.find('\n'))));
  }
}

class GuardedModule : public Module {
 public:
  explicit GuardedModule(std::unique_ptr<TorchModule> module) : module_(std::move(module)) {}
  Result<std::vector<ir::Tensor>> Forward(std::span<const ir::Tensor> inputs) override {
    return Guarded([&] { return module_->Forward(inputs); });
  }
  Result<Gradients> Backward(std::span<const ir::Tensor> inputs,
                             std::span<const ir::Tensor> output_gradients,
                             std::span<const std::string> values) override {
    return Guarded([&] { return module_->Backward(inputs, output_gradients, values); });
  }

 private:
  std::unique_ptr<TorchModule> module_;
};

class TorchEngine : public Engine {
 public:
  Result<std::unique_ptr<Module>> MakeModule(const ir::Graph& graph,
                                             const ModuleOptions& options) override {
    if (options.cuda && !at::hasCUDA()) return Unsupported("learning: this libtorch has no CUDA");
    return Guarded([&]() -> Result<std::unique_ptr<Module>> {
      SLIPWAY_ASSIGN_OR_RETURN(auto module, TorchModule::Make(graph, options));
      return std::unique_ptr<Module>(std::make_unique<GuardedModule>(std::move(module)));
    });
  }
  Result<ReconstructResult> Reconstruct(const ir::Graph& block,
                                        std::span<const std::string> rounding,
                                        std::span<const std::string> scales,
                                        const ReconstructData& data,
                                        const ReconstructOptions& options,
                                        const std::function<bool(int64_t)>& progress) override {
    return Guarded(
        [&] { return ReconstructBlock(block, rounding, scales, data, options, progress); });
  }
  void SetThreads(int threads) override {
    at::set_num_threads(
        threads > 0 ? threads : std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  }
  std::string Describe() const override {
    return std::string("libtorch ") + TORCH_VERSION + (at::hasCUDA() ? ", CUDA" : ", CPU");
  }
  std::vector<std::string> Operators() const override {
    std::vector<std::string> names;
    for (const auto table : {ElementwiseOperators(), TensorOperators(), NetworkOperators()}) {
      for (const Operator& op : table)
        names.push_back(*op.domain ? std::string(op.domain) + "." + op.name : op.name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }
};

}  // namespace
}  // namespace slipway::learn

extern "C" __attribute__((visibility("default"))) const char* slipway_learn_abi() {
  static const std::string abi = slipway::learn::Abi();
  return abi.c_str();
}
extern "C" __attribute__((visibility("default"))) slipway::learn::Engine* slipway_learn_create() {
  // Arrays of some megabytes come and go in each iteration: they are kept, not given back to the
  // system page by page.
  static const bool kept = ::mallopt(M_MMAP_THRESHOLD, 32 << 20) != 0 &&
                           ::mallopt(M_TRIM_THRESHOLD, 256 << 20) != 0;
  (void)kept;
  static slipway::learn::TorchEngine engine;
  return &engine;
}
