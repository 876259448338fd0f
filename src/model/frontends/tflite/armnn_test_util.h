#pragma once
// A second reader of TensorFlow Lite files: Arm NN's parser and its reference backend (CpuRef),
// where they are installed (SLIPWAY_HAVE_ARMNN).

#ifdef SLIPWAY_HAVE_ARMNN

#include <armnn/ArmNN.hpp>
#include <armnnTfLiteParser/ITfLiteParser.hpp>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"

namespace slipway::tflite {

using Blob = std::vector<uint8_t>;

// Outputs in the order of `outputs`, or why Arm NN does not run the file.
inline Result<std::vector<Blob>> RunArmnn(const Blob& file,
                                          const std::map<std::string, Blob>& inputs,
                                          const std::vector<std::string>& outputs) {
  using namespace armnn;
  try {
    static IRuntimePtr runtime = [] {
      ConfigureLogging(false, false, LogSeverity::Fatal);
      return IRuntime::Create(IRuntime::CreationOptions());
    }();
    auto parser = armnnTfLiteParser::ITfLiteParser::Create();
    INetworkPtr network = parser->CreateNetworkFromBinary(file);
    std::vector<std::string> messages;
    auto optimized = Optimize(*network, {BackendId("CpuRef")}, runtime->GetDeviceSpec(),
                              OptimizerOptions(), Optional<std::vector<std::string>&>(messages));
    if (!optimized) return Unsupported("not optimised");
    NetworkId id;
    std::string message;
    if (runtime->LoadNetwork(id, std::move(optimized), message) != armnn::Status::Success)
      return Unsupported(message);
    InputTensors in;
    OutputTensors out;
    for (const auto& [name, bytes] : inputs) {
      const auto [binding, info] = parser->GetNetworkInputBindingInfo(0, name);
      if (info.GetNumBytes() != bytes.size()) return Internal("input size");
      in.push_back({binding, ConstTensor(info, bytes.data())});
    }
    std::vector<Blob> made;
    made.reserve(outputs.size());
    for (const std::string& name : outputs) {
      const auto [binding, info] = parser->GetNetworkOutputBindingInfo(0, name);
      made.emplace_back(info.GetNumBytes());
      out.push_back({binding, armnn::Tensor(info, made.back().data())});
    }
    const auto status = runtime->EnqueueWorkload(id, in, out);
    runtime->UnloadNetwork(id);
    if (status != armnn::Status::Success) return Unsupported("not run");
    return made;
  } catch (const std::exception& e) {
    return Unsupported(e.what());
  }
}

}  // namespace slipway::tflite

#endif
