#include "engine/backends/onnxruntime/run/providers.h"

#include <cstdlib>

namespace slipway::ort {
namespace {

constexpr char kVariable[] = "SLIPWAY_ONNXRUNTIME_PROVIDERS";

std::vector<std::string> Split(const std::string& text, char at) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(at, begin), text.size());
    out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

// Names of what the library was built with, as it calls them.
std::string Available(const Api& api) {
  char** names = nullptr;
  int count = 0;
  if (!api.Call(kGetAvailableProviders, &names, &count).ok()) return {};
  std::string out;
  for (int i = 0; i < count; ++i) out += (i ? ", " : "") + std::string(names[i] ? names[i] : "");
  (void)api.Call(kReleaseAvailableProviders, names, count).ok();
  return out;
}

// Those with options of a type of their own, and the file beside ONNX Runtime's that has them.
struct Typed {
  const char* name;
  const char* file;
  Function create, update, append, release;
};
constexpr Typed kTyped[] = {
    {"TensorRT", "libonnxruntime_providers_tensorrt.so", kCreateTensorRTProviderOptions,
     kUpdateTensorRTProviderOptions, kAppendExecutionProviderTensorRT,
     kReleaseTensorRTProviderOptions},
    {"CUDA", "libonnxruntime_providers_cuda.so", kCreateCUDAProviderOptions,
     kUpdateCUDAProviderOptions, kAppendExecutionProviderCUDA, kReleaseCUDAProviderOptions},
};

std::string Needs(const Provider& provider) {
  for (const Typed& typed : kTyped) {
    if (provider.name == typed.name)
      return std::string("it needs libonnxruntime_providers_shared.so and ") + typed.file +
             " beside the library of SLIPWAY_ONNXRUNTIME, and what they link; ";
  }
  return {};
}

Status Append(const Api& api, OrtSessionOptions* options, const Provider& provider) {
  std::vector<const char*> keys, values;
  for (const auto& [key, value] : provider.options) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
  const char* const* k = keys.data();
  const char* const* v = values.data();
  for (const Typed& typed : kTyped) {
    if (provider.name != typed.name) continue;
    struct Options;
    Options* own = nullptr;
    SLIPWAY_RETURN_IF_ERROR(api.Call(typed.create, &own));
    Status s = keys.empty() ? OkStatus() : api.Call(typed.update, own, k, v, keys.size());
    if (s.ok()) s = api.Call(typed.append, options, static_cast<const Options*>(own));
    api.Release(typed.release, own);
    return s;
  }
  return api.Call(kAppendExecutionProvider, options, provider.name.c_str(), k, v, keys.size());
}

}  // namespace

Result<std::vector<Provider>> ParseProviders(const std::string& list) {
  std::vector<Provider> out;
  const auto wrong = [&](const std::string& what) {
    return InvalidArgument(
        std::string(kVariable) + "='" + list + "': " + what +
        "; it is to be as in TensorRT,CUDA:device_id=1;cudnn_conv_algo_search=DEFAULT");
  };
  for (const std::string& item : Split(list, ',')) {
    const size_t colon = std::min(item.find(':'), item.size());
    Provider provider{item.substr(0, colon), {}};
    if (provider.name.empty()) return wrong("a provider without a name");
    if (colon < item.size()) {
      for (const std::string& option : Split(item.substr(colon + 1), ';')) {
        const size_t equals = option.find('=');
        if (equals == std::string::npos || equals == 0)
          return wrong("'" + option + "' is no KEY=VALUE");
        provider.options.emplace_back(option.substr(0, equals), option.substr(equals + 1));
      }
    }
    // It is behind all others whether named or not.
    if (provider.name != "CPU") out.push_back(std::move(provider));
  }
  return out;
}

Status AppendProviders(const Api& api, OrtSessionOptions* options) {
  const char* list = std::getenv(kVariable);
  if (!list || !*list) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(const std::vector<Provider> providers, ParseProviders(list));
  for (const Provider& provider : providers) {
    const Status s = Append(api, options, provider);
    if (!s.ok())
      // The library's own words last: they may be long.
      return Unsupported("the provider " + provider.name + " of " + kVariable +
                         " cannot be used; " + Needs(provider) +
                         "this library was built with: " + Available(api) + ". " + s.message());
  }
  return OkStatus();
}

}  // namespace slipway::ort
