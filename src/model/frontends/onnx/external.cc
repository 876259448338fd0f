#include "model/frontends/onnx/external.h"

#include <algorithm>
#include <filesystem>

namespace slipway::onnx {
namespace fs = std::filesystem;

Result<std::shared_ptr<const MappedFile>> ExternalFiles::Open(const TensorProto& proto) {
  const std::string location(proto.location);
  if (auto it = files_.find(location); it != files_.end()) return it->second;
  if (model_path_.empty()) {
    return Unsupported(proto.Describe() + " keeps its data in the file " + Quote(location) +
                       ", but the model was read from memory; import it from a file");
  }
  const fs::path relative(location);
  if (location.empty() || relative.is_absolute() || location.find('\0') != std::string::npos) {
    return InvalidArgument(proto.Describe() + ": external data location " + Quote(location) +
                           " must be a path relative to the model's folder");
  }
  std::error_code error;
  fs::path folder = fs::path(model_path_).parent_path();
  folder = fs::canonical(folder.empty() ? fs::path(".") : folder, error);
  if (error)
    return NotFound("the folder of '" + model_path_ + "' cannot be resolved: " + error.message());
  const fs::path file = fs::canonical(folder / relative, error);
  if (error) {
    return NotFound(proto.Describe() + ": external data file " + Quote(location) +
                    " cannot be opened beside the model: " + error.message() + "; copy it there");
  }
  const auto [end, unused] = std::mismatch(folder.begin(), folder.end(), file.begin(), file.end());
  if (end != folder.end()) {
    return InvalidArgument(proto.Describe() + ": external data location " + Quote(location) +
                           " leads outside the model's folder; move the file beside the model");
  }
  if (!fs::is_regular_file(file, error)) {
    return InvalidArgument(proto.Describe() + ": external data location " + Quote(location) +
                           " is not a file");
  }
  auto mapped = MappedFile::Open(file.string());
  if (!mapped.ok()) return std::move(mapped).status().With(proto.Describe());
  files_[location] = *mapped;
  return mapped;
}

Result<ir::Tensor> ExternalFiles::Read(const TensorProto& proto) {
  SLIPWAY_ASSIGN_OR_RETURN(TensorType type, CheckTensorType(proto));
  if (proto.length && static_cast<uint64_t>(*proto.length) != type.bytes) {
    return InvalidArgument(proto.Describe() + ": " + DTypeName(type.dtype) + type.dims.ToString() +
                           " needs " + std::to_string(type.bytes) +
                           " bytes, its external data has length " + std::to_string(*proto.length));
  }
  SLIPWAY_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, Open(proto));
  const auto bytes = file->bytes();
  const auto offset = static_cast<uint64_t>(proto.offset);
  if (offset > bytes.size() || type.bytes > bytes.size() - offset) {
    return DataLoss(proto.Describe() + " needs bytes " + std::to_string(offset) + " to " +
                    std::to_string(offset) + "+" + std::to_string(type.bytes) + " of " +
                    Quote(proto.location) + ", which has only " + std::to_string(bytes.size()) +
                    "; copy or download it again");
  }
  // A copy of the message that says: these bytes are the raw data.
  TensorProto inline_proto = proto;
  inline_proto.external = false;
  inline_proto.raw = bytes.subspan(offset, type.bytes);
  return TensorFromProto(inline_proto, file);
}

}  // namespace slipway::onnx
