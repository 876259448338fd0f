// XNNPACK reads beyond its operands; an application's own buffer may end where memory does.

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "engine/backends/xnnpack/run/backend.h"
#include "engine/format/op_desc.h"

namespace slipway::xnnpack {
namespace {

// A page with one behind it that may not be read.
class Edge {
 public:
  Edge() {
    size_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    base_ = static_cast<char*>(
        mmap(nullptr, 2 * size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED || mprotect(base_ + size_, size_, PROT_NONE) != 0) std::abort();
  }
  ~Edge() { munmap(base_, 2 * size_); }
  char* Last(size_t bytes) const { return base_ + size_ - bytes; }

 private:
  char* base_;
  size_t size_;
};

slipway_tensor Tensor(uint32_t dtype, uint64_t bytes, std::initializer_list<int64_t> dims) {
  slipway_tensor t{};
  t.dtype = dtype;
  t.layout = static_cast<uint32_t>(1);  // channels last
  for (int64_t d : dims) t.dims[t.rank++] = d;
  t.bytes = bytes;
  return t;
}

void RunStep(const format::OpDesc& op, slipway_tensor x, slipway_tensor y, void* from, void* to) {
  const slipway_backend& backend = *backends::XnnpackBackend();
  const std::vector<uint8_t> blob = format::EncodeOp(op);
  const slipway_step step{sizeof step, "step", blob.data(), blob.size(), 1, 1, &x, &y};
  slipway_error error{};
  void *program = nullptr, *bound = nullptr;
  ASSERT_EQ(backend.load(backend.context, &step, &program, &error), 0) << error.message;
  slipway_requirements requirements{sizeof requirements, 1, 0};
  ASSERT_EQ(backend.prepare(backend.context, program, &step, &requirements, &bound, &error), 0)
      << error.message;
  std::vector<char> workspace(requirements.workspace_bytes + 64);
  slipway_execution e{};
  e.struct_size = sizeof e;
  e.threads = 1;
  e.parallel_for = [](void*, int64_t count, int64_t, void (*body)(void*, int64_t, int64_t),
                      void* context) { body(context, 0, count); };
  e.workspace = workspace.data();
  e.workspace_bytes = requirements.workspace_bytes;
  x.data = from;
  y.data = to;
  for (int round = 0; round < 2; ++round)
    ASSERT_EQ(backend.run(backend.context, bound, &x, &y, &e, &error), 0) << error.message;
  backend.release(backend.context, bound);
  backend.unload(backend.context, program);
}

TEST(XnnpackEdge, AnInputAtTheEndOfMemoryIsCopiedFirst) {
  // Four positions of 5 channels: kernels read 16 bytes at each.
  const Edge input;
  char* x = input.Last(20);
  for (int i = 0; i < 20; ++i) x[i] = static_cast<char>((i * 7) % 23 - 11);
  char y[64] = {};
  RunStep({"", "MaxPool", {{"kernel_shape", std::vector<int64_t>{2, 2}}}},
          Tensor(3, 20, {1, 5, 2, 2}), Tensor(3, 5, {1, 5, 1, 1}), x, y);
  for (int c = 0; c < 5; ++c) {
    int most = -128;
    for (int p = 0; p < 4; ++p) most = std::max<int>(most, static_cast<int8_t>(x[p * 5 + c]));
    EXPECT_EQ(static_cast<int8_t>(y[c]), most) << c;
  }
}

TEST(XnnpackEdge, AnOutputThatIsReadAgainMayLieThereToo) {
  const Edge output;
  float x[19];
  for (int i = 0; i < 19; ++i) x[i] = 0.3f * static_cast<float>(i) - 2;
  char* y = output.Last(sizeof x);
  RunStep({"", "HardSigmoid", {{"alpha", 0.2f}, {"beta", 0.5f}}},
          Tensor(1, sizeof x, {1, 19, 1, 1}), Tensor(1, sizeof x, {1, 19, 1, 1}), x, y);
  for (int i = 0; i < 19; ++i) {
    float got;
    std::memcpy(&got, y + 4 * i, 4);
    EXPECT_NEAR(got, std::min(1.0f, std::max(0.0f, 0.2f * x[i] + 0.5f)), 1e-6f) << i;
  }
}

}  // namespace
}  // namespace slipway::xnnpack
