#pragma once
// Packages and sessions of the C interface that free themselves.

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "base/aligned.h"
#include "engine/runtime/packages_test_util.h"
#include "slipway.h"

namespace slipway {

// Bytes at an aligned address, as slipway_package_load_memory wants them.
inline AlignedBuffer Aligned(const std::vector<uint8_t>& bytes) {
  AlignedBuffer out(bytes.size());
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

struct Loaded {
  AlignedBuffer bytes;
  slipway_package* package = nullptr;
  slipway_error error{};
  explicit Loaded(const PackageMaker& maker) {
    auto file = format::SerializePackage(maker.data);
    EXPECT_TRUE(file.ok()) << file.status().ToString();
    if (!file.ok()) return;
    bytes = Aligned(*file);
    slipway_package_load_memory(bytes.data(), bytes.size(), &package, &error);
  }
  ~Loaded() { slipway_package_free(package); }
};

struct Sess {
  slipway_session* s = nullptr;
  slipway_error error{};
  explicit Sess(slipway_package* package, int threads = 1, bool profile = false) {
    slipway_session_options options;
    slipway_session_options_init(&options);
    options.threads = threads;
    options.profile = profile;
    slipway_session_create(package, &options, &s, &error);
  }
  ~Sess() { slipway_session_free(s); }
  float* In(const char* name) {
    slipway_tensor t{};
    EXPECT_EQ(slipway_session_input(s, name, &t, &error), 0) << error.message;
    return static_cast<float*>(t.data);
  }
  float* Out(const char* name) {
    slipway_tensor t{};
    EXPECT_EQ(slipway_session_output(s, name, &t, &error), 0) << error.message;
    return static_cast<float*>(t.data);
  }
  int Run() { return slipway_session_run(s, &error); }
  int SetShape(const char* name, std::vector<int64_t> dims) {
    return slipway_session_set_shape(s, name, dims.data(), static_cast<int32_t>(dims.size()), &error);
  }
};

}  // namespace slipway
