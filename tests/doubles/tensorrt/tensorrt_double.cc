// A test double of TensorRT 10 with its ONNX parser. IT IS NOT TENSORRT: networks are run by this
// project's own interpreter, and there is no GPU (cudart/cudart_double.cc), or one that holds the
// tensors and computes nothing (gpu_cuda.cc). It exists because TensorRT cannot be had where the
// tests run, and it shows that the backend `tensorrt` uses the interface as its headers say: in the
// right order, with live objects, extents, addresses and flags, and that every error is answered.
//
// Misuse that would be undefined behaviour with the real library ends the process with a message;
// what the real library answers with false or null and a logged error is answered so.
//
// Environment:
//   TENSORRT_DOUBLE_VERSION  major.minor.patch.build that it reports (10.7.0.23)
//   TENSORRT_DOUBLE_GPUS     names, separated by commas (Double GPU); empty: none. Without a GPU
//   TENSORRT_DOUBLE_FAIL     what fails, WHAT@N from the Nth call on: builder, network, config,
//                            parser, parse, profile, dimensions, build, runtime, deserialize,
//                            context, shape, address, enqueue; set_device, properties, stream,
//                            malloc, copy_in, copy_out, synchronize (these without a GPU); or what
//                            is wrong with engines: type, output_shape, tensors, names
//   TENSORRT_DOUBLE_REPORT   a file: gets a line for each engine that is built or read, and at the
//                            end the objects still alive
//
// The headers beside this file are written after NVIDIA's; docs/tensorrt.md says which.

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <sstream>

#include "double.h"
#include "gpu.h"
#include "model/frontends/onnx/import.h"
#include "model/interp/interpreter.h"

namespace tensorrt_double {
namespace {

using nvinfer1::Dims;
using nvinfer1::ILogger;
using slipway::ir::Graph;

std::array<int, 4> LibraryVersion() {
  std::array<int, 4> v{};
  std::sscanf(Setting("TENSORRT_DOUBLE_VERSION", "10.7.0.23").c_str(), "%d.%d.%d.%d", &v[0], &v[1],
              &v[2], &v[3]);
  return v;
}
std::string VersionText() {
  std::string text;
  for (int part : LibraryVersion()) text += (text.empty() ? "" : ".") + std::to_string(part);
  return text;
}

// Errors, and beside them what is none and may not be taken for one.
void Complain(ILogger* logger, const std::string& what) {
  logger->log(ILogger::Severity::kWARNING, "a warning of the double");
  logger->log(ILogger::Severity::kERROR, ("the double:\n" + what).c_str());
  logger->log(ILogger::Severity::kVERBOSE, "chatter of the double");
}
bool FailsAt(ILogger* logger, const char* what) {
  if (!Fails(what)) return false;
  Complain(logger, std::string("asked to fail at ") + what);
  return true;
}

bool Same(const Dims& a, const Dims& b) {
  return a.nbDims == b.nbDims && (a.nbDims < 0 || std::equal(a.d, a.d + a.nbDims, b.d));
}
bool IsOpen(const Dims& dims) {
  for (int i = 0; i < dims.nbDims; ++i) {
    if (dims.d[i] < 0) return true;
  }
  return dims.nbDims < 0;
}
std::string Text(const Dims& dims) {
  std::string text;
  for (int i = 0; i < dims.nbDims; ++i) text += (i ? "x" : "") + std::to_string(dims.d[i]);
  return text;
}
Dims DimsOf(const slipway::ir::Value& v) {
  Dims out{};
  if (!v.type().shape || v.type().shape->size() > Dims::MAX_DIMS) {
    out.nbDims = -1;
    return out;
  }
  for (const auto& d : *v.type().shape) out.d[out.nbDims++] = d.known() ? d.value() : -1;
  return out;
}
size_t BytesOf(const Dims& dims) {
  size_t bytes = sizeof(float);
  for (int i = 0; i < dims.nbDims; ++i) bytes *= static_cast<size_t>(dims.d[i]);
  return bytes;
}

slipway::Result<std::unique_ptr<Graph>> Import(std::shared_ptr<std::vector<uint8_t>> onnx,
                                               const std::map<std::string, Dims>& shapes) {
  slipway::onnx::ImportOptions options;
  for (const auto& [name, dims] : shapes)
    options.input_shapes[name].assign(dims.d, dims.d + dims.nbDims);
  return slipway::onnx::ImportOnnxBytes(*onnx, onnx, options);
}

// A part of something that has to go before it.
class Part {
 public:
  Part(const char* kind, int* siblings) : kind_(kind), siblings_(siblings) {
    TheRegistry().Add(this, kind);
    if (siblings_) ++*siblings_;
  }
  ~Part() {
    TheRegistry().Remove(this, kind_, "delete");
    if (parts) Misuse(std::string("a ") + kind_ + " is deleted before what was made with it");
    if (siblings_) --*siblings_;
  }
  int parts = 0;

 private:
  const char* kind_;
  int* siblings_;
};

class HostMemory final : public nvinfer1::IHostMemory {
 public:
  explicit HostMemory(std::string bytes) : bytes_(std::move(bytes)) {}
  void* data() const noexcept override { return const_cast<char*>(bytes_.data()); }
  std::size_t size() const noexcept override { return bytes_.size(); }

 private:
  std::string bytes_;
  Part part_{"host memory", nullptr};
};

class Tensor final : public nvinfer1::ITensor {
 public:
  Tensor(std::string name, const Dims& dims) : name_(std::move(name)), dims_(dims) {}
  char const* getName() const noexcept override { return name_.c_str(); }
  Dims getDimensions() const noexcept override { return dims_; }

 private:
  std::string name_;
  Dims dims_;
};

class Network final : public nvinfer1::INetworkDefinition {
 public:
  Network(nvinfer1::NetworkDefinitionCreationFlags flags, int* siblings)
      : flags(flags), part_("network", siblings) {}
  int32_t getNbInputs() const noexcept override { return static_cast<int32_t>(inputs.size()); }
  nvinfer1::ITensor* getInput(int32_t index) const noexcept override {
    return index >= 0 && index < getNbInputs() ? inputs[static_cast<size_t>(index)].get() : nullptr;
  }

  const nvinfer1::NetworkDefinitionCreationFlags flags;
  std::shared_ptr<std::vector<uint8_t>> onnx;
  std::vector<std::unique_ptr<Tensor>> inputs;
  bool parser_is_gone = false;

 private:
  Part part_;
};

class Profile final : public nvinfer1::IOptimizationProfile {
 public:
  explicit Profile(ILogger* logger) : logger_(logger) {}
  bool setDimensions(char const* inputName, nvinfer1::OptProfileSelector select,
                     Dims const& dims) noexcept override {
    if (FailsAt(logger_, "dimensions")) return false;
    by_name[inputName][static_cast<size_t>(select)] = dims;
    return true;
  }
  std::map<std::string, std::array<std::optional<Dims>, 3>> by_name;

 private:
  ILogger* logger_;
};

class Config final : public nvinfer1::IBuilderConfig {
 public:
  Config(ILogger* logger, int* siblings) : logger_(logger), part_("config", siblings) {}
  void clearFlag(nvinfer1::BuilderFlag flag) noexcept override {
    if (flag == nvinfer1::BuilderFlag::kTF32) tf32 = false;
  }
  int32_t addOptimizationProfile(nvinfer1::IOptimizationProfile const* given) noexcept override {
    if (FailsAt(logger_, "profile")) return -1;
    const auto* p = static_cast<const Profile*>(given);
    for (const auto& [name, dims] : p->by_name) {
      // This double has one shape for each engine.
      if (!dims[0] || !dims[1] || !dims[2] || !Same(*dims[0], *dims[1]) ||
          !Same(*dims[1], *dims[2])) {
        Complain(logger_, "the profile of " + name + " is not one shape");
        return -1;
      }
    }
    profile = p;
    return 0;
  }
  bool tf32 = true;
  const Profile* profile = nullptr;

 private:
  ILogger* logger_;
  Part part_;
};

class Builder final : public nvinfer1::IBuilder {
 public:
  explicit Builder(ILogger* logger) : logger_(logger) {}
  nvinfer1::IBuilderConfig* createBuilderConfig() noexcept override {
    return FailsAt(logger_, "config") ? nullptr : new Config(logger_, &part_.parts);
  }
  nvinfer1::INetworkDefinition* createNetworkV2(
      nvinfer1::NetworkDefinitionCreationFlags flags) noexcept override {
    return FailsAt(logger_, "network") ? nullptr : new Network(flags, &part_.parts);
  }
  nvinfer1::IOptimizationProfile* createOptimizationProfile() noexcept override {
    profiles_.push_back(std::make_unique<Profile>(logger_));
    return profiles_.back().get();
  }
  nvinfer1::IHostMemory* buildSerializedNetwork(nvinfer1::INetworkDefinition& given,
                                                nvinfer1::IBuilderConfig& with) noexcept override {
    auto& network = static_cast<Network&>(given);
    auto& config = static_cast<Config&>(with);
    if (!network.onnx) Misuse("buildSerializedNetwork of a network without layers");
    if (network.parser_is_gone)
      Misuse("buildSerializedNetwork after the parser was deleted, which owns the weights");
    if (FailsAt(logger_, "build")) return nullptr;
    const bool typed =
        network.flags &
        (1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED));
    std::string line =
        std::string("build typed=") + (typed ? "1" : "0") + " tf32=" + (config.tf32 ? "1" : "0");
    std::string plan = "DOUBLE PLAN\n" + VersionText() + "\n" + GpuName(CurrentGpu()) + "\n" +
                       std::to_string(network.inputs.size()) + "\n";
    for (const auto& input : network.inputs) {
      Dims dims = input->getDimensions();
      const bool open = IsOpen(dims);
      if (open) {
        if (!config.profile || !config.profile->by_name.count(input->getName())) {
          Complain(logger_, "the network has dynamic inputs, but no optimization profile for " +
                                std::string(input->getName()));
          return nullptr;
        }
        dims = *config.profile->by_name.at(input->getName())[1];
      }
      line += std::string(" ") + input->getName() + (open ? "*" : "") + "=" + Text(dims);
      plan += input->getName() + std::string(" ") + std::to_string(dims.nbDims);
      for (int i = 0; i < dims.nbDims; ++i) plan += " " + std::to_string(dims.d[i]);
      plan += "\n";
    }
    plan.append(network.onnx->begin(), network.onnx->end());
    logger_->log(ILogger::Severity::kINFO, "the double has built an engine");
    Report(line);
    return new HostMemory(std::move(plan));
  }

 private:
  ILogger* logger_;
  std::vector<std::unique_ptr<Profile>> profiles_;
  Part part_{"builder", nullptr};
};

class ParserError final : public nvonnxparser::IParserError {
 public:
  explicit ParserError(std::string text) : text_(std::move(text)) {}
  char const* desc() const override { return text_.c_str(); }
  int node() const override { return 0; }

 private:
  std::string text_;
};

class Parser final : public nvonnxparser::IParser {
 public:
  explicit Parser(Network* network) : network_(network) {}
  ~Parser() noexcept override {
    TheRegistry().Check(&part_, "parser", "delete");
    network_->parser_is_gone = true;
  }
  bool parse(void const* model, size_t size, const char* /*path*/) noexcept override {
    if (Fails("parse")) return Refuse("asked to fail at\nparse");
    const auto* bytes = static_cast<const uint8_t*>(model);
    auto onnx = std::make_shared<std::vector<uint8_t>>(bytes, bytes + size);
    auto graph = Import(onnx, {});
    if (!graph.ok()) return Refuse(graph.status().message());
    for (const auto* v : (*graph)->inputs())
      network_->inputs.push_back(std::make_unique<Tensor>(v->name(), DimsOf(*v)));
    network_->onnx = std::move(onnx);
    return true;
  }
  int getNbErrors() const noexcept override { return static_cast<int>(errors_.size()); }
  nvonnxparser::IParserError const* getError(int index) const noexcept override {
    return index >= 0 && index < getNbErrors() ? &errors_[static_cast<size_t>(index)] : nullptr;
  }

 private:
  bool Refuse(const std::string& why) {
    errors_.emplace_back("the double: " + why);
    return false;
  }
  Network* network_;
  std::vector<ParserError> errors_;
  Part part_{"parser", nullptr};
};

// An engine's tensors, all with their extents.
struct Model {
  std::unique_ptr<Graph> graph;
  std::optional<slipway::interp::Interpreter> interpreter;
  int gpu = 0;
};

bool Run(const Model& model, const std::vector<const uint8_t*>& from,
         const std::vector<uint8_t*>& to) {
  std::vector<slipway::ir::Tensor> inputs;
  for (const auto* v : model.graph->inputs()) {
    const Dims dims = DimsOf(*v);
    auto t = slipway::ir::Tensor::Allocate(
        slipway::DType::kFloat32,
        slipway::Dims(std::vector<int64_t>(dims.d, dims.d + dims.nbDims)));
    if (!t.ok()) return false;
    std::memcpy(t->mutable_data(), from[inputs.size()], BytesOf(dims));
    inputs.push_back(std::move(*t));
  }
  const auto outputs = model.interpreter->Run(inputs);
  if (!outputs.ok()) return false;
  for (size_t i = 0; i < to.size(); ++i) {
    const auto bytes = (*outputs)[i].bytes();
    if (bytes.size() != BytesOf(DimsOf(*model.graph->outputs()[i]))) return false;
    std::memcpy(to[i], bytes.data(), bytes.size());
  }
  return true;
}

class Context final : public nvinfer1::IExecutionContext {
 public:
  Context(const Model* model, ILogger* logger, int* siblings)
      : model_(model), logger_(logger), part_("context", siblings) {}
  bool setInputShape(char const* name, Dims const& dims) noexcept override {
    if (FailsAt(logger_, "shape")) return false;
    for (const auto* v : model_->graph->inputs()) {
      if (v->name() != name) continue;
      if (Same(dims, DimsOf(*v))) return shapes_[name] = true;
      Complain(logger_, "the engine has other extents for " + std::string(name));
      return false;
    }
    Complain(logger_, "there is no input " + std::string(name));
    return false;
  }
  Dims getTensorShape(char const* name) const noexcept override {
    Dims none{};
    none.nbDims = -1;
    for (const auto* v : model_->graph->inputs()) {
      if (!shapes_.count(v->name())) return none;
    }
    for (const auto* v : model_->graph->outputs()) {
      if (v->name() != name) continue;
      Dims dims = DimsOf(*v);
      if (Fails("output_shape") && dims.nbDims < Dims::MAX_DIMS) dims.d[dims.nbDims++] = 1;
      return dims;
    }
    return none;
  }
  bool setTensorAddress(char const* name, void* data) noexcept override {
    if (FailsAt(logger_, "address")) return false;
    if (reinterpret_cast<uintptr_t>(data) % 256 != 0) Misuse("setTensorAddress without alignment");
    addresses_[name] = data;
    return true;
  }
  bool enqueueV3(cudaStream_t stream) noexcept override {
    if (FailsAt(logger_, "enqueue")) return false;
    if (CurrentGpu() != model_->gpu) Misuse("enqueueV3 on another GPU than the engine's");
    for (const auto* v : model_->graph->inputs()) {
      if (!shapes_.count(v->name())) Misuse("enqueueV3 before every input had its extents");
    }
    const std::vector<void*> in = Addresses(model_->graph->inputs()),
                             out = Addresses(model_->graph->outputs());
    if (!place_)
      place_ = MakeWorkplace(
          Sizes(model_->graph->inputs()), Sizes(model_->graph->outputs()),
          [model = model_](const auto& from, const auto& to) { return Run(*model, from, to); });
    const cudaError_t error = place_->Enqueue(stream, in, out);
    if (error != cudaSuccess)
      Complain(logger_, std::string("CUDA says ") + cudaGetErrorString(error));
    return error == cudaSuccess;
  }

 private:
  std::vector<void*> Addresses(const auto& values) const {
    std::vector<void*> addresses;
    for (const auto* v : values) {
      const auto it = addresses_.find(v->name());
      if (it == addresses_.end() || !it->second)
        Misuse("enqueueV3 before every address was set: " + v->name());
      addresses.push_back(it->second);
    }
    return addresses;
  }
  static std::vector<size_t> Sizes(const auto& values) {
    std::vector<size_t> sizes;
    for (const auto* v : values) sizes.push_back(BytesOf(DimsOf(*v)));
    return sizes;
  }

  const Model* model_;
  ILogger* logger_;
  std::map<std::string, bool> shapes_;
  std::map<std::string, void*> addresses_;
  std::unique_ptr<Workplace> place_;
  Part part_;
};

class Engine final : public nvinfer1::ICudaEngine {
 public:
  Engine(Model model, ILogger* logger, int* siblings)
      : model_(std::move(model)), logger_(logger), part_("engine", siblings) {}
  nvinfer1::IExecutionContext* createExecutionContext(
      nvinfer1::ExecutionContextAllocationStrategy) noexcept override {
    return FailsAt(logger_, "context") ? nullptr : new Context(&model_, logger_, &part_.parts);
  }
  int32_t getNbIOTensors() const noexcept override {
    return static_cast<int32_t>(model_.graph->inputs().size() + model_.graph->outputs().size()) +
           (Fails("tensors") ? 1 : 0);
  }
  nvinfer1::TensorIOMode getTensorIOMode(char const* name) const noexcept override {
    if (Fails("names")) return nvinfer1::TensorIOMode::kNONE;
    for (const auto* v : model_.graph->inputs()) {
      if (v->name() == name) return nvinfer1::TensorIOMode::kINPUT;
    }
    for (const auto* v : model_.graph->outputs()) {
      if (v->name() == name) return nvinfer1::TensorIOMode::kOUTPUT;
    }
    return nvinfer1::TensorIOMode::kNONE;
  }
  nvinfer1::DataType getTensorDataType(char const*) const noexcept override {
    return Fails("type") ? nvinfer1::DataType::kHALF : nvinfer1::DataType::kFLOAT;
  }
  nvinfer1::TensorFormat getTensorFormat(char const*) const noexcept override {
    return nvinfer1::TensorFormat::kLINEAR;
  }
  nvinfer1::TensorLocation getTensorLocation(char const*) const noexcept override {
    return nvinfer1::TensorLocation::kDEVICE;
  }

 private:
  Model model_;
  ILogger* logger_;
  Part part_;
};

class Runtime final : public nvinfer1::IRuntime {
 public:
  explicit Runtime(ILogger* logger) : logger_(logger) {}
  nvinfer1::ICudaEngine* deserializeCudaEngine(void const* blob,
                                               std::size_t size) noexcept override {
    if (FailsAt(logger_, "deserialize")) return nullptr;
    std::istringstream text(std::string(static_cast<const char*>(blob), size));
    std::string mark, version, gpu;
    std::getline(text, mark);
    std::getline(text, version);
    std::getline(text, gpu);
    if (mark != "DOUBLE PLAN" || version != VersionText() || gpu != GpuName(CurrentGpu()))
      return Refuse("the plan is not one of this version for this GPU");
    size_t count = 0;
    text >> count;
    std::map<std::string, Dims> shapes;
    for (size_t i = 0; i < count; ++i) {
      std::string name;
      Dims dims{};
      text >> name >> dims.nbDims;
      for (int d = 0; d < dims.nbDims && d < Dims::MAX_DIMS; ++d) text >> dims.d[d];
      shapes[name] = dims;
    }
    text.get();
    if (!text) return Refuse("the plan is damaged");
    const auto at = static_cast<size_t>(text.tellg());
    const auto* bytes = static_cast<const uint8_t*>(blob);
    Model model;
    auto graph = Import(std::make_shared<std::vector<uint8_t>>(bytes + at, bytes + size), shapes);
    if (!graph.ok()) return Refuse(graph.status().message());
    model.graph = std::move(*graph);
    auto interpreter = slipway::interp::Interpreter::Create(*model.graph);
    if (!interpreter.ok()) return Refuse(interpreter.status().message());
    model.interpreter.emplace(std::move(*interpreter));
    model.gpu = CurrentGpu();
    Report("deserialized");
    return new Engine(std::move(model), logger_, &part_.parts);
  }

 private:
  nvinfer1::ICudaEngine* Refuse(const std::string& why) {
    Complain(logger_, why);
    return nullptr;
  }
  ILogger* logger_;
  Part part_{"runtime", nullptr};
};

// What was compiled for another major version gets nothing.
bool Accepts(ILogger* logger, int32_t version) {
  if (version / 10000 == LibraryVersion()[0]) return true;
  Complain(logger, "the program was compiled for another version");
  return false;
}

}  // namespace
}  // namespace tensorrt_double

using namespace tensorrt_double;  // NOLINT: the functions below are TensorRT's

int32_t getInferLibMajorVersion() noexcept { return LibraryVersion()[0]; }
int32_t getInferLibMinorVersion() noexcept { return LibraryVersion()[1]; }
int32_t getInferLibPatchVersion() noexcept { return LibraryVersion()[2]; }
int32_t getInferLibBuildVersion() noexcept { return LibraryVersion()[3]; }

void* createInferBuilder_INTERNAL(void* logger, int32_t version) noexcept {
  auto* l = static_cast<ILogger*>(logger);
  if (!Accepts(l, version) || FailsAt(l, "builder")) return nullptr;
  return static_cast<nvinfer1::IBuilder*>(new Builder(l));
}

void* createInferRuntime_INTERNAL(void* logger, int32_t version) noexcept {
  auto* l = static_cast<ILogger*>(logger);
  if (!Accepts(l, version) || FailsAt(l, "runtime")) return nullptr;
  return static_cast<nvinfer1::IRuntime*>(new Runtime(l));
}

void* createNvOnnxParser_INTERNAL(void* network, void* logger, int /*version*/) noexcept {
  if (FailsAt(static_cast<ILogger*>(logger), "parser")) return nullptr;
  return static_cast<nvonnxparser::IParser*>(
      new Parser(static_cast<Network*>(static_cast<nvinfer1::INetworkDefinition*>(network))));
}
