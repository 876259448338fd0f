// The double of TensorRT and the CUDA runtime is strict: what would be undefined behaviour with the
// real libraries ends the process, so that the tests that run the backend on it cannot pass by
// chance.

#include <NvOnnxParser.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "model/frontends/onnx/export.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace {

using namespace nvinfer1;  // NOLINT: the interface under test

class Logger final : public ILogger {
 public:
  void log(Severity severity, AsciiChar const* text) noexcept override {
    if (severity <= Severity::kERROR) errors += text;
  }
  std::string errors;
};

Dims Shape(int64_t rows, int64_t columns) {
  Dims dims{};
  dims.nbDims = 2;
  dims.d[0] = rows;
  dims.d[1] = columns;
  return dims;
}

struct Parts {
  std::unique_ptr<IBuilder> builder;
  std::unique_ptr<INetworkDefinition> network;
  std::unique_ptr<IBuilderConfig> config;
  std::unique_ptr<nvonnxparser::IParser> parser;
};

struct Running {
  std::unique_ptr<IRuntime> runtime;
  std::unique_ptr<ICudaEngine> engine;
  std::unique_ptr<IExecutionContext> context;
};

class TensorrtDouble : public testing::Test {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    auto graph = slipway::ir::ParseText(R"(graph "g" {
  input %i0: float32[N, 2]
  %o0 = Relu(%i0)
  output %o0
})");
    ASSERT_TRUE(graph.ok()) << graph.status().ToString();
    ASSERT_TRUE(slipway::ir::InferShapes(**graph).ok());
    auto bytes = slipway::onnx::ExportOnnxBytes(**graph);
    ASSERT_TRUE(bytes.ok()) << bytes.status().message();
    onnx_ = *bytes;
  }
  Parts Parse() {
    Parts p;
    p.builder.reset(createInferBuilder(logger_));
    p.network.reset(p.builder->createNetworkV2(2));
    p.config.reset(p.builder->createBuilderConfig());
    p.parser.reset(nvonnxparser::createParser(*p.network, logger_));
    EXPECT_TRUE(p.parser->parse(onnx_.data(), onnx_.size()));
    return p;
  }
  std::unique_ptr<IHostMemory> Plan(Parts& p) {
    IOptimizationProfile* profile = p.builder->createOptimizationProfile();
    for (auto which :
         {OptProfileSelector::kMIN, OptProfileSelector::kOPT, OptProfileSelector::kMAX})
      EXPECT_TRUE(profile->setDimensions("i0", which, Shape(3, 2)));
    EXPECT_EQ(p.config->addOptimizationProfile(profile), 0);
    return std::unique_ptr<IHostMemory>(p.builder->buildSerializedNetwork(*p.network, *p.config));
  }
  Running Start() {
    Parts parts = Parse();
    const auto plan = Plan(parts);
    Running r;
    r.runtime.reset(createInferRuntime(logger_));
    r.engine.reset(r.runtime->deserializeCudaEngine(plan->data(), plan->size()));
    r.context.reset(r.engine->createExecutionContext());
    return r;
  }
  static void* Device(size_t bytes) {
    void* memory = nullptr;
    EXPECT_EQ(cudaMalloc(&memory, bytes), cudaSuccess);
    return memory;
  }
  static cudaStream_t NewStream() {
    cudaStream_t stream = nullptr;
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    return stream;
  }

  Logger logger_;
  std::vector<uint8_t> onnx_;
};

TEST_F(TensorrtDouble, RunsANetworkWhenTheStreamIsSynchronized) {
  Running r = Start();
  cudaStream_t stream = NewStream();
  void *in = Device(24), *out = Device(24);
  float x[] = {-1, 2, -3, 4, -5, 6}, y[6] = {7, 7, 7, 7, 7, 7};
  ASSERT_TRUE(r.context->setInputShape("i0", Shape(3, 2)));
  ASSERT_TRUE(r.context->setTensorAddress("i0", in));
  ASSERT_TRUE(r.context->setTensorAddress("o0", out));
  ASSERT_EQ(cudaMemcpyAsync(in, x, 24, cudaMemcpyHostToDevice, stream), cudaSuccess);
  ASSERT_TRUE(r.context->enqueueV3(stream));
  ASSERT_EQ(cudaMemcpyAsync(y, out, 24, cudaMemcpyDeviceToHost, stream), cudaSuccess);
  EXPECT_EQ(y[1], 7);  // not yet
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(std::vector<float>(y, y + 6), (std::vector<float>{0, 2, 0, 4, 0, 6}));
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
  EXPECT_EQ(cudaFree(in), cudaSuccess);
  EXPECT_EQ(cudaFree(out), cudaSuccess);
}

TEST_F(TensorrtDouble, WhatIsWrongIsAnError) {
  Running r = Start();
  EXPECT_FALSE(r.context->setInputShape("i0", Shape(4, 2)));
  EXPECT_FALSE(r.context->setInputShape("nothing", Shape(3, 2)));
  EXPECT_EQ(r.context->getTensorShape("o0").nbDims, -1);  // the input's are not set
  Parts p = Parse();
  EXPECT_EQ(p.builder->buildSerializedNetwork(*p.network, *p.config), nullptr);
  EXPECT_NE(logger_.errors.find("no optimization profile for i0"), std::string::npos);
  EXPECT_EQ(r.runtime->deserializeCudaEngine("no plan", 7), nullptr);
  EXPECT_FALSE(p.parser->parse("no model", 8));
  ASSERT_EQ(p.parser->getNbErrors(), 1);
  IOptimizationProfile* half = p.builder->createOptimizationProfile();
  EXPECT_TRUE(half->setDimensions("i0", OptProfileSelector::kMIN, Shape(3, 2)));
  EXPECT_LT(p.config->addOptimizationProfile(half), 0);
  EXPECT_EQ(createInferRuntime_INTERNAL(&logger_, 80600), nullptr);
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
}

TEST_F(TensorrtDouble, MisuseOfEnginesEndsTheProcess) {
  EXPECT_DEATH(
      {
        Parts p = Parse();
        p.parser.reset();
        Plan(p);
      },
      "after the parser was deleted");
  EXPECT_DEATH(
      {
        Parts p = Parse();
        p.builder.reset();
      },
      "a builder is deleted before what was made with it");
  EXPECT_DEATH(
      {
        Running r = Start();
        r.runtime.reset();
      },
      "a runtime is deleted before");
  EXPECT_DEATH(
      {
        Running r = Start();
        r.engine.reset();
      },
      "a engine is deleted before");
  Running r = Start();
  cudaStream_t stream = NewStream();
  EXPECT_DEATH(r.context->enqueueV3(stream), "before every input had its extents");
  ASSERT_TRUE(r.context->setInputShape("i0", Shape(3, 2)));
  EXPECT_DEATH(r.context->enqueueV3(stream), "before every address was set: i0");
  void *in = Device(24), *small = Device(20);
  ASSERT_TRUE(r.context->setTensorAddress("i0", in));
  EXPECT_DEATH(r.context->setTensorAddress("o0", static_cast<char*>(in) + 4), "without alignment");
  ASSERT_TRUE(r.context->setTensorAddress("o0", small));
  EXPECT_DEATH(r.context->enqueueV3(stream), "enqueueV3 goes beyond the end of memory");
  alignas(256) static float host[64];
  ASSERT_TRUE(r.context->setTensorAddress("o0", host));
  EXPECT_DEATH(r.context->enqueueV3(stream), "enqueueV3 gets no memory of the GPU");
  EXPECT_EQ(cudaFree(in), cudaSuccess);
  EXPECT_EQ(cudaFree(small), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

TEST_F(TensorrtDouble, MisuseOfMemoryEndsTheProcess) {
  cudaStream_t stream = NewStream();
  void* memory = Device(8);
  float x[4] = {};
  EXPECT_DEATH(*static_cast<volatile float*>(memory) = 1, "");  // not the program's
  EXPECT_DEATH(cudaMemcpyAsync(memory, x, 12, cudaMemcpyHostToDevice, stream),
               "beyond the end of memory");
  EXPECT_DEATH(cudaMemcpyAsync(x, x + 2, 8, cudaMemcpyHostToDevice, stream),
               "gets no memory of the GPU");
  EXPECT_DEATH(cudaFree(x), "cudaFree gets no live memory");
  EXPECT_DEATH(
      {
        cudaFree(memory);
        cudaFree(memory);
      },
      "cudaFree gets no live memory");
  EXPECT_DEATH(
      {
        cudaMemcpyAsync(memory, x, 8, cudaMemcpyHostToDevice, stream);
        cudaFree(memory);
      },
      "cudaFree while a stream uses the memory");
  EXPECT_DEATH(
      {
        cudaMemcpyAsync(memory, x, 8, cudaMemcpyHostToDevice, stream);
        cudaStreamDestroy(stream);
      },
      "cudaStreamDestroy while the stream has work");
  EXPECT_DEATH(
      {
        cudaStreamDestroy(stream);
        cudaStreamSynchronize(stream);
      },
      "cudaStreamSynchronize gets no live stream");
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

}  // namespace
