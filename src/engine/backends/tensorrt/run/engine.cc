#include "engine/backends/tensorrt/run/engine.h"

#include <NvOnnxParser.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>

#include "base/hash.h"
#include "base/log.h"
#include "engine/backends/tensorrt/run/cache.h"
#include "engine/backends/tensorrt/run/cuda.h"
#include "engine/kernels/vendor/library.h"

namespace slipway::tensorrt {
namespace {

// Changes when the options below do.
constexpr char kRecipe[] = "slipway tensorrt 1: strongly typed, no tf32";

// One for the process: TensorRT logs into the first that it gets, from any thread.
class Logger final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, nvinfer1::AsciiChar const* message) noexcept override {
    if (severity > Severity::kERROR || !message) return;
    try {
      const std::lock_guard lock(mutex_);
      if (messages_.size() < kMost)
        messages_.push_back(kernels::OneLine(std::string(message).substr(0, kLongest)));
    } catch (...) {  // no memory for the message of an error
    }
  }
  // The first is the cause, as a rule.
  std::string Take() {
    const std::lock_guard lock(mutex_);
    std::string all;
    for (const std::string& m : messages_) all += (all.empty() ? "" : "; ") + m;
    messages_.clear();
    return all;
  }

 private:
  static constexpr size_t kMost = 2, kLongest = 160;
  std::mutex mutex_;
  std::vector<std::string> messages_;
};

Logger& TheLogger() {
  static Logger* logger = new Logger;  // never destroyed: TensorRT's objects may outlive statics
  return *logger;
}

std::string DimsText(const nvinfer1::Dims& dims) {
  std::string text;
  for (int i = 0; i < dims.nbDims; ++i) text += (i ? "x" : "") + std::to_string(dims.d[i]);
  return text;
}

std::string KeyOf(std::span<const uint8_t> onnx, const std::vector<Input>& inputs, const Gpu& gpu) {
  Sha256 hash;
  std::string about = std::string(kRecipe) + "\n" + Version() + "\n" + gpu.name + "\n" +
                      std::to_string(gpu.major) + "." + std::to_string(gpu.minor) + "\n";
  for (const Input& input : inputs) about += input.name + " " + DimsText(input.dims) + "\n";
  hash.Update(about);
  hash.Update(onnx);
  return ToHex(hash.Finish());
}

Status ParserError(const nvonnxparser::IParser& parser) {
  std::string why;
  if (parser.getNbErrors() > 0) {
    if (const nvonnxparser::IParserError* error = parser.getError(0); error && error->desc())
      why = " (node " + std::to_string(error->node()) + "): " + kernels::OneLine(error->desc());
  }
  return Failed("nvonnxparser::IParser::parse" + why);
}

// The extents of inputs that the network leaves open.
Status AddProfile(nvinfer1::IBuilder& builder, nvinfer1::IBuilderConfig& config,
                  const nvinfer1::INetworkDefinition& network, const std::vector<Input>& inputs) {
  nvinfer1::IOptimizationProfile* profile = nullptr;  // the builder's
  for (const Input& input : inputs) {
    const nvinfer1::ITensor* tensor = nullptr;
    for (int i = 0; i < network.getNbInputs(); ++i) {
      const nvinfer1::ITensor* t = network.getInput(i);
      if (t && t->getName() && input.name == t->getName()) tensor = t;
    }
    if (!tensor) return DataLoss("the network in the step has no input " + input.name);
    const nvinfer1::Dims dims = tensor->getDimensions();
    if (std::none_of(dims.d, dims.d + std::max(dims.nbDims, 0), [](int64_t d) { return d < 0; }))
      continue;
    if (!profile) profile = builder.createOptimizationProfile();
    if (!profile) return Failed("IBuilder::createOptimizationProfile");
    for (const auto which : {nvinfer1::OptProfileSelector::kMIN, nvinfer1::OptProfileSelector::kOPT,
                             nvinfer1::OptProfileSelector::kMAX}) {
      if (!profile->setDimensions(input.name.c_str(), which, input.dims))
        return Failed("IOptimizationProfile::setDimensions of " + input.name + " " +
                      DimsText(input.dims));
    }
  }
  if (profile && config.addOptimizationProfile(profile) < 0)
    return Failed("IBuilderConfig::addOptimizationProfile");
  return OkStatus();
}

Result<std::unique_ptr<nvinfer1::IHostMemory>> Build(std::span<const uint8_t> onnx,
                                                     const std::vector<Input>& inputs) {
  const std::unique_ptr<nvinfer1::IBuilder> builder(nvinfer1::createInferBuilder(TheLogger()));
  if (!builder) return Failed("createInferBuilder");
  // Strongly typed: float32 stays float32.
  const std::unique_ptr<nvinfer1::INetworkDefinition> network(builder->createNetworkV2(
      1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED)));
  if (!network) return Failed("IBuilder::createNetworkV2");
  const std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
  if (!config) return Failed("IBuilder::createBuilderConfig");
  config->clearFlag(nvinfer1::BuilderFlag::kTF32);  // on by default: factors of 10 bits
  // Lives until the engine is built: the network refers to its weights.
  const std::unique_ptr<nvonnxparser::IParser> parser(
      nvonnxparser::createParser(*network, TheLogger()));
  if (!parser) return Failed("nvonnxparser::createParser");
  if (!parser->parse(onnx.data(), onnx.size())) return ParserError(*parser);
  SLIPWAY_RETURN_IF_ERROR(AddProfile(*builder, *config, *network, inputs));
  std::unique_ptr<nvinfer1::IHostMemory> plan(builder->buildSerializedNetwork(*network, *config));
  if (!plan || !plan->data() || plan->size() == 0)
    return Failed("IBuilder::buildSerializedNetwork");
  return plan;
}

Status Deserialize(Engine& e, std::span<const uint8_t> plan) {
  e.engine.reset(e.runtime->deserializeCudaEngine(plan.data(), plan.size()));
  return e.engine ? OkStatus() : Failed("IRuntime::deserializeCudaEngine");
}

}  // namespace

std::string Version() {
  return std::to_string(getInferLibMajorVersion()) + "." +
         std::to_string(getInferLibMinorVersion()) + "." +
         std::to_string(getInferLibPatchVersion()) + "." +
         std::to_string(getInferLibBuildVersion());
}

Status Failed(const std::string& call) {
  const std::string logged = TheLogger().Take();
  return Unsupported("TensorRT " + Version() + ": " + call + ": " +
                     (logged.empty() ? "failed without a message" : logged));
}

Result<Gpu> Start() {
  if (getInferLibMajorVersion() != NV_TENSORRT_MAJOR)
    return Unsupported("TensorRT " + Version() + " is here, but this backend was compiled for " +
                       std::to_string(NV_TENSORRT_MAJOR) +
                       "; build Slipway with the version that is here, or compile for another "
                       "platform");
  Gpu gpu;
  const char* given = std::getenv("SLIPWAY_TENSORRT_DEVICE");
  if (given && *given) {
    const char* end = given + std::strlen(given);
    const auto [at, error] = std::from_chars(given, end, gpu.index);
    if (error != std::errc() || at != end || gpu.index < 0)
      return InvalidArgument("SLIPWAY_TENSORRT_DEVICE is '" + std::string(given) +
                             "'; it is the number of a GPU as nvidia-smi lists them: 0, 1, ...");
  }
  int count = 0;
  SLIPWAY_RETURN_IF_ERROR(
      SLIPWAY_CUDA(cudaGetDeviceCount, &count)
          .With("TensorRT needs an NVIDIA GPU and its driver on this machine, or compile for "
                "another platform"));
  if (gpu.index >= count)
    return Unsupported("there is no GPU " + std::to_string(gpu.index) + ": CUDA finds " +
                       std::to_string(count) + "; SLIPWAY_TENSORRT_DEVICE chooses");
  SLIPWAY_RETURN_IF_ERROR(SLIPWAY_CUDA(cudaSetDevice, gpu.index));
  cudaDeviceProp properties{};
  SLIPWAY_RETURN_IF_ERROR(SLIPWAY_CUDA(cudaGetDeviceProperties, &properties, gpu.index));
  gpu.name = std::string(properties.name, strnlen(properties.name, sizeof(properties.name)));
  gpu.major = properties.major;
  gpu.minor = properties.minor;
  return gpu;
}

Result<Engine> MakeEngine(std::span<const uint8_t> onnx, const std::vector<Input>& inputs,
                          const Gpu& gpu) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  TheLogger().Take();
  const std::string folder = CacheFolder(), key = KeyOf(onnx, inputs, gpu);
  Engine e;
  e.runtime.reset(nvinfer1::createInferRuntime(TheLogger()));
  if (!e.runtime) return Failed("createInferRuntime");
  // What TensorRT does not take of the cache is built again: another driver may have come since.
  const std::optional<std::vector<uint8_t>> kept = ReadEngine(folder, key);
  if (!kept || !Deserialize(e, *kept).ok()) {
    SLIPWAY_ASSIGN_OR_RETURN(const auto plan, Build(onnx, inputs));
    const std::span bytes(static_cast<const uint8_t*>(plan->data()), plan->size());
    SLIPWAY_RETURN_IF_ERROR(Deserialize(e, bytes));
    if (const Status s = WriteEngine(folder, key, bytes); !s.ok())
      Log(LogLevel::kWarning, "an engine of TensorRT is not kept (" + s.message() +
                                  "); SLIPWAY_TENSORRT_CACHE names another folder, or is off");
  }
  e.context.reset(e.engine->createExecutionContext());
  if (!e.context) return Failed("ICudaEngine::createExecutionContext");
  return e;
}

}  // namespace slipway::tensorrt
