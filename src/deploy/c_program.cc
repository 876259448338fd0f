#include "deploy/c_program.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "base/mapped_file.h"
#include "deploy/export_c.h"
#include "device/process.h"

namespace slipway::deploy {

namespace fs = std::filesystem;

// Goes away with the last program that uses it.
struct CProgram::Folder {
  explicit Folder(std::string p) : path(std::move(p)) {}
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string path;
};

Result<CProgram> CProgram::Build(const ir::Graph& graph) {
  SLIPWAY_ASSIGN_OR_RETURN(const backends::csource::Source source, GenerateC(graph, "net"));
  std::string pattern = (fs::temp_directory_path() / "slipway-c-XXXXXX").string();
  if (!::mkdtemp(pattern.data()))
    return Unavailable("cannot make a temporary folder '" + pattern +
                       "'; set TMPDIR to a writable place");
  CProgram out;
  out.folder_ = std::make_shared<Folder>(pattern);
  out.inputs_ = source.inputs;
  out.outputs_ = source.outputs;
  SLIPWAY_RETURN_IF_ERROR(WriteFile(pattern + "/net.h", source.header));
  SLIPWAY_RETURN_IF_ERROR(WriteFile(pattern + "/net.c", source.source));
  device::ProcessOptions options;
  options.working_dir = pattern;
  auto built =
      device::RunProcess({"cc", "-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic",
                          "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DNET_MAIN",
                          "net.c", "-o", "net", "-lm"},
                         options);
  if (!built.ok()) return built.status().With("no C compiler");
  if (!built->ok())
    return Internal("cc refuses the C file: " + built->err.substr(0, 1500) + built->Describe());
  return out;
}

Result<std::vector<ir::Tensor>> CProgram::Run(const std::vector<ir::Tensor>& inputs,
                                              double timeout_seconds) const {
  if (inputs.size() != inputs_.size())
    return InvalidArgument("the program has " + std::to_string(inputs_.size()) + " inputs, " +
                           std::to_string(inputs.size()) + " are given");
  std::string bytes;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].dtype() != inputs_[i].dtype || !(inputs[i].dims() == inputs_[i].dims))
      return InvalidArgument("input '" + inputs_[i].name + "' is " + inputs[i].Describe() +
                             ", the program has " + DTypeName(inputs_[i].dtype) +
                             inputs_[i].dims.ToString());
    const auto own = inputs[i].bytes();
    bytes.append(reinterpret_cast<const char*>(own.data()), own.size());
  }
  SLIPWAY_RETURN_IF_ERROR(WriteFile(folder_->path + "/in", bytes));
  device::ProcessOptions options;
  options.working_dir = folder_->path;
  options.timeout_seconds = timeout_seconds;
  SLIPWAY_ASSIGN_OR_RETURN(const auto ran,
                           device::RunProcess({"sh", "-c", "exec ./net < in > out"}, options));
  if (!ran.ok())
    return Unavailable("the C program: " + ran.err.substr(0, 1500) + " " + ran.Describe());
  SLIPWAY_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(folder_->path + "/out"));
  const std::span<const uint8_t> got = file->bytes();
  size_t at = 0;
  std::vector<ir::Tensor> outputs;
  for (const auto& port : outputs_) {
    SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t, ir::Tensor::Allocate(port.dtype, port.dims));
    if (got.size() - at < t.bytes().size())
      return Internal("the C program wrote " + std::to_string(got.size()) + " bytes, too few");
    if (!t.bytes().empty()) std::memcpy(t.mutable_data(), got.data() + at, t.bytes().size());
    at += t.bytes().size();
    outputs.push_back(std::move(t));
  }
  if (at != got.size()) return Internal("the C program wrote more than its outputs");
  return outputs;
}

}  // namespace slipway::deploy
