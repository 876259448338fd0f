#include "data/idx.h"

#include <filesystem>

#include "base/checked.h"
#include "data/archive.h"

namespace slipway::data {
namespace {
namespace fs = std::filesystem;
constexpr uint64_t kMaxBytes = uint64_t{16} << 30;

std::string WithoutGz(const std::string& s) {
  return s.ends_with(".gz") ? s.substr(0, s.size() - 3) : s;
}
}  // namespace

bool IsIdxName(const std::string& path) {
  const std::string name = WithoutGz(path);
  return name.ends_with("-ubyte") || name.ends_with(".ubyte");
}

bool IsIdxImagesName(const std::string& path) {
  return IsIdxName(path) && fs::path(path).filename().string().find("images") != std::string::npos;
}

std::string FindIdxLabels(const std::string& images_path) {
  const fs::path p(images_path);
  std::string name = WithoutGz(p.filename().string());
  const size_t at = name.find("images");
  if (at == std::string::npos) return "";
  name.replace(at, 6, "labels");
  if (const size_t rank = name.find("idx3"); rank != std::string::npos)
    name.replace(rank, 4, "idx1");
  for (const char* end : {"", ".gz"}) {
    const fs::path labels = p.parent_path() / (name + end);
    std::error_code ec;
    if (fs::is_regular_file(labels, ec)) return labels.string();
  }
  return "";
}

Result<NpyArray> ReadIdx(const std::string& path) {
  SLIPWAY_ASSIGN_OR_RETURN(auto file, ReadMaybeGzip(path, kMaxBytes));
  const auto* p = reinterpret_cast<const uint8_t*>(file->data());
  if (file->size() < 4 || p[0] != 0 || p[1] != 0) {
    return DataLoss(path + ": not an IDX file; expected the MNIST format (…-idx3-ubyte)");
  }
  if (p[2] != 0x08) {
    return Unsupported(path + ": IDX element type " + std::to_string(p[2]) +
                       "; only unsigned bytes (8) are read");
  }
  const size_t rank = p[3];
  if (rank < 1 || rank > 4 || file->size() < 4 + rank * 4) {
    return DataLoss(path + ": IDX header of " + std::to_string(rank) + " dimensions is damaged");
  }
  std::vector<int64_t> dims;
  for (size_t i = 0; i < rank; ++i) {
    const uint8_t* d = p + 4 + i * 4;
    dims.push_back(static_cast<int64_t>(d[0]) << 24 | d[1] << 16 | d[2] << 8 | d[3]);
  }
  const size_t start = 4 + rank * 4;
  const auto bytes = CheckedBytes(DType::kUInt8, dims);
  if (!bytes || static_cast<uint64_t>(*bytes) != file->size() - start) {
    return DataLoss(path + ": the IDX header says " +
                    (bytes ? std::to_string(*bytes) : "too many") +
                    " bytes of data, the file has " + std::to_string(file->size() - start) +
                    "; download it again");
  }
  NpyArray out{DType::kUInt8, std::move(dims), {p + start, file->size() - start}, nullptr};
  out.owner = std::move(file);
  return out;
}

}  // namespace slipway::data
