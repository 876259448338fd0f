#pragma once
// Helpers of the tests in this folder.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/hash.h"
#include "data/archive.h"
#include "data/npy.h"

namespace slipway::data {

class FolderTest : public ::testing::Test {
 protected:
  void SetUp() override { folder_ = std::move(TemporaryFolder::Create()).value(); }
  std::string File(const std::string& name) const { return folder_->path() + "/" + name; }
  std::string Write(const std::string& name, const std::string& bytes) const {
    const std::string path = File(name);
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  std::unique_ptr<TemporaryFolder> folder_;
};

template <typename T>
NpyArray MakeArray(std::vector<int64_t> dims, const std::vector<T>& values) {
  return NpyArray::Copy(
             DTypeOf<T>::value, std::move(dims),
             {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(T)})
      .value();
}

inline std::string HexOf(std::span<const uint8_t> bytes) {
  const Sha256Digest digest = Sha256Of(bytes);
  return ToHex(digest);
}

// "" when the shared data is not on this machine; tests skip then.
inline std::string SharedData(const std::string& name) {
  const std::string path = std::string(SLIPWAY_SOURCE_DIR) + "/../shared/data/" + name;
  return std::filesystem::exists(path) ? path : "";
}

}  // namespace slipway::data

#define SKIP_WITHOUT(path)                              \
  if ((path).empty() || !std::filesystem::exists(path)) \
  GTEST_SKIP() << "the data is not on this machine"
#define EXPECT_MESSAGE(status, text) \
  EXPECT_NE((status).message().find(text), std::string::npos) << (status).message()
