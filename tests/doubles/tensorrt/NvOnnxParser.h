#pragma once
// Of the double of TensorRT, not NVIDIA's: the part of its ONNX parser that the backend tensorrt
// uses (see NvInferRuntime.h beside it).

#include "NvInfer.h"

static constexpr int32_t NV_ONNX_PARSER_VERSION = 100;  // 0.1.0

namespace nvonnxparser {

class IParserError {
 public:
  virtual char const* desc() const = 0;
  virtual int node() const = 0;

 protected:
  virtual ~IParserError() = default;
};

class IParser {
 public:
  virtual bool parse(void const* serialized_onnx_model, size_t serialized_onnx_model_size,
                     const char* model_path = nullptr) noexcept = 0;
  virtual int getNbErrors() const noexcept = 0;
  virtual IParserError const* getError(int index) const noexcept = 0;
  virtual ~IParser() noexcept = default;
};

}  // namespace nvonnxparser

extern "C" DOUBLE_API void* createNvOnnxParser_INTERNAL(void* network, void* logger,
                                                        int version) noexcept;

namespace nvonnxparser {
inline IParser* createParser(nvinfer1::INetworkDefinition& network,
                             nvinfer1::ILogger& logger) noexcept {
  return static_cast<IParser*>(
      createNvOnnxParser_INTERNAL(&network, &logger, NV_ONNX_PARSER_VERSION));
}
}  // namespace nvonnxparser
