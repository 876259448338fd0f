#pragma once
// Models compiled and run by a session, to be compared with the interpreter.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/cpu.h"
#include "engine/backends/all/compilers.h"
#include "engine/compiler/compile.h"
#include "engine/runtime/registry.h"
#include "engine/runtime/session.h"
#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::compiler {

using ir::Tensor;

inline std::vector<Platform> Platforms() {
  std::vector<Platform> out;
  for (const char* name : {"reference", "x86", "x86-onednn"}) {
    auto p = LoadPlatform(std::string(SLIPWAY_SOURCE_DIR) + "/platforms/" + name + ".yaml");
    EXPECT_TRUE(p.ok()) << p.status().ToString();
    if (p.ok() && (p->arch == "any" || p->arch == ThisCpu().arch)) out.push_back(*p);
  }
  return out;
}

inline const BackendSet& Backends() {
  static const BackendSet* set = [] {
    auto* s = new BackendSet;
    for (auto& b : backends::MakeCompilers()) s->Add(std::move(b));
    return s;
  }();
  return *set;
}

// A package in memory, with a session.
class Compiled {
 public:
  static Result<std::unique_ptr<Compiled>> Make(const ir::Graph& graph, const Platform& platform,
                                                bool optimize) {
    CompileOptions options;
    options.optimize = optimize;
    return Make(graph, platform, options);
  }
  // `change`: what is done to the package before it is written.
  static Result<std::unique_ptr<Compiled>> Make(
      const ir::Graph& graph, const Platform& platform, const CompileOptions& options,
      const std::function<void(format::PackageData&)>& change = {}, int threads = 1) {
    auto out = std::make_unique<Compiled>();
    SLIPWAY_ASSIGN_OR_RETURN(out->result_, Compile(graph, platform, Backends(), options));
    if (change) change(out->result_.package);
    SLIPWAY_ASSIGN_OR_RETURN(auto bytes, format::SerializePackage(out->result_.package));
    out->bytes_ = AlignedBuffer(bytes.size());
    std::memcpy(out->bytes_.data(), bytes.data(), bytes.size());
    SLIPWAY_ASSIGN_OR_RETURN(
        auto package, runtime::Package::FromMemory({out->bytes_.data(), bytes.size()}, nullptr,
                                                   runtime::GlobalRegistry()));
    SLIPWAY_ASSIGN_OR_RETURN(out->session_, runtime::Session::Create(package, {.threads = threads}));
    return out;
  }

  Result<std::vector<Tensor>> Run(const std::vector<Tensor>& inputs) {
    const format::PackageData& data = session_->package().data();
    auto name = [&](int t) { return data.tensors[static_cast<size_t>(t)].name; };
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].is_container()) {
        SLIPWAY_RETURN_IF_ERROR(SetContainer(name(data.inputs[i]), inputs[i]));
      } else {
        SLIPWAY_RETURN_IF_ERROR(session_->SetShape(name(data.inputs[i]), inputs[i].dims()));
      }
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].is_container()) continue;
      SLIPWAY_ASSIGN_OR_RETURN(slipway_tensor t, session_->Input(name(data.inputs[i])));
      if (t.bytes > 0) std::memcpy(t.data, inputs[i].bytes().data(), t.bytes);
    }
    SLIPWAY_RETURN_IF_ERROR(session_->Run());
    std::vector<Tensor> out;
    for (int o : data.outputs) {
      const format::PackageTensor& tensor = data.tensors[static_cast<size_t>(o)];
      if (tensor.is_container()) {
        SLIPWAY_ASSIGN_OR_RETURN(Tensor made, GetContainer(tensor));
        out.push_back(std::move(made));
        continue;
      }
      SLIPWAY_ASSIGN_OR_RETURN(slipway_tensor t, session_->Output(name(o)));
      SLIPWAY_ASSIGN_OR_RETURN(Tensor copy, CopyOf(t));
      out.push_back(std::move(copy));
    }
    return out;
  }
  const CompileResult& result() const { return result_; }
  runtime::Session& session() { return *session_; }

 private:
  static Result<Tensor> CopyOf(const slipway_tensor& t) {
    SLIPWAY_ASSIGN_OR_RETURN(
        Tensor copy, Tensor::Allocate(static_cast<DType>(t.dtype),
                                      Dims(std::span(t.dims, static_cast<size_t>(t.rank)))));
    if (t.bytes > 0) std::memcpy(copy.mutable_data(), t.data, t.bytes);
    return copy;
  }
  Status SetContainer(const std::string& name, const Tensor& value) {
    std::span<const Tensor> items = value.items();
    const bool optional = value.container() != ir::Container::kSequence, there = !items.empty();
    if (value.container() == ir::Container::kOptionalSequence && there) items = items[0].items();
    SLIPWAY_RETURN_IF_ERROR(
        session_->SetLength(name, optional && !there ? -1 : static_cast<int64_t>(items.size())));
    for (size_t i = 0; i < items.size(); ++i) {
      SLIPWAY_ASSIGN_OR_RETURN(slipway_tensor t,
                               session_->SetItem(name, static_cast<int64_t>(i), items[i].dims()));
      if (t.bytes > 0) std::memcpy(t.data, items[i].bytes().data(), t.bytes);
    }
    return OkStatus();
  }
  Result<Tensor> GetContainer(const format::PackageTensor& tensor) {
    const auto container = static_cast<ir::Container>(tensor.container);
    SLIPWAY_ASSIGN_OR_RETURN(const int64_t length, session_->Length(tensor.name));
    if (length < 0) return Tensor::NoOptional(tensor.dtype, container);
    std::vector<Tensor> items;
    for (int64_t i = 0; i < length; ++i) {
      SLIPWAY_ASSIGN_OR_RETURN(slipway_tensor t, session_->Item(tensor.name, i));
      SLIPWAY_ASSIGN_OR_RETURN(Tensor copy, CopyOf(t));
      items.push_back(std::move(copy));
    }
    if (container == ir::Container::kOptional) return Tensor::Optional(items.at(0));
    SLIPWAY_ASSIGN_OR_RETURN(Tensor all, Tensor::Sequence(tensor.dtype, std::move(items)));
    return container == ir::Container::kSequence ? all : Tensor::Optional(all);
  }

  AlignedBuffer bytes_;
  CompileResult result_;
  std::unique_ptr<runtime::Session> session_;
};

// Of a stack of no slices the interpreter knows less extents than the package, which has the outer
// ones.
inline std::string Different(const Tensor& got, const Tensor& want, bool exact) {
  if (got.container() != want.container() || got.items().size() != want.items().size())
    return got.Describe() + ", expected " + want.Describe();
  for (size_t i = 0; i < want.items().size(); ++i) {
    const std::string inside = Different(got.items()[i], want.items()[i], exact);
    if (!inside.empty()) return "item " + std::to_string(i) + " is " + inside;
  }
  if (want.is_container()) return "";
  const bool empty =
      want.count() == 0 && got.count() == 0 && want.dims().rank() == got.dims().rank();
  if (got.dtype() != want.dtype() || !(empty || got.dims() == want.dims())) {
    return std::string(DTypeName(got.dtype())) + got.dims().ToString() + ", expected " +
           DTypeName(want.dtype()) + want.dims().ToString();
  }
  if (want.bytes().empty()) return "";
  if (exact || want.dtype() != DType::kFloat32)
    return std::memcmp(got.bytes().data(), want.bytes().data(), want.bytes().size()) == 0
               ? ""
               : "other bits";
  for (int64_t i = 0; i < want.count(); ++i) {
    const float g = got.data<float>()[i], w = want.data<float>()[i];
    if (g == w || (std::isnan(g) && std::isnan(w))) continue;
    if (!(std::fabs(g - w) <= 1e-4f + 1e-4f * std::fabs(w)))
      return std::to_string(g) + ", expected " + std::to_string(w);
  }
  return "";
}

inline std::unique_ptr<ir::Graph> Parse(const std::string& text) {
  auto graph = ir::ParseText(text);
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  if (!graph.ok()) return nullptr;
  const Status status = ir::InferShapes(**graph);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return std::move(*graph);
}

// Runs each set of inputs, one behind the other, on every platform.
inline void Check(const ir::Graph& graph, const std::vector<std::vector<Tensor>>& sets) {
  for (const Platform& platform : Platforms()) {
    for (bool optimize : {false, true}) {
      SCOPED_TRACE(platform.name + (optimize ? ", optimized" : ""));
      auto compiled = Compiled::Make(graph, platform, optimize);
      ASSERT_TRUE(compiled.ok()) << compiled.status().ToString();
      for (size_t i = 0; i < sets.size(); ++i) {
        auto want = interp::Evaluate(graph, sets[i]);
        auto got = (*compiled)->Run(sets[i]);
        ASSERT_EQ(got.ok(), want.ok())
            << "set " << i << ": " << (got.ok() ? want : got).status().ToString();
        for (size_t k = 0; want.ok() && k < want->size(); ++k)
          EXPECT_EQ(Different((*got)[k], (*want)[k], platform.name == "reference"), "")
              << "set " << i << ", output " << k;
      }
    }
  }
}

inline Tensor Floats(Dims dims, float first) {
  auto t = Tensor::Allocate(DType::kFloat32, dims);
  EXPECT_TRUE(t.ok());
  for (int64_t i = 0; i < t->count(); ++i)
    reinterpret_cast<float*>(t->mutable_data())[i] = first + 0.25f * static_cast<float>(i);
  return *t;
}

}  // namespace slipway::compiler
