#pragma once
// What the tests of passes share: a pass on a graph in text form, what it must become, and equality
// of results on random inputs.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>

#include "base/thread_pool.h"
#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"
#include "model/ir/verify.h"
#include "model/passes/evaluate.h"
#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {

inline std::unique_ptr<Graph> Parse(const std::string& text) {
  auto graph = ir::ParseText(text);
  EXPECT_TRUE(graph.ok()) << graph.status().ToString() << "\n" << text;
  if (!graph.ok()) return std::make_unique<Graph>();
  Status status = ir::InferShapes(**graph);
  EXPECT_TRUE(status.ok()) << status.ToString() << "\n" << text;
  return std::move(*graph);
}

// The graph without names: nodes in order, values numbered as they appear, small constants by
// content. Equal for graphs that do the same in the same way.
inline std::string Plain(const Graph& graph) {
  std::string out;
  std::unordered_map<const Value*, std::string> names;
  int next = 0;
  auto name = [&](const Value* v) -> std::string {
    if (!v) return "_";
    if (const Tensor* t = v->constant()) {
      std::string s = std::string(DTypeName(t->dtype())) + t->dims().ToString();
      if (t->count() > 12) return s;
      s += "=";
      char number[32];
      for (double d : t->ToDoubles()) {
        std::snprintf(number, sizeof number, " %.5g", d);
        s += number;
      }
      return s;
    }
    auto [it, fresh] = names.try_emplace(v);
    if (fresh) it->second = "%" + std::to_string(next++);
    return it->second;
  };
  for (const Value* v : graph.inputs()) out += "input " + name(v) + "\n";
  for (const auto& node : graph.nodes()) {
    std::string line = node->FullOp() + "(";
    for (size_t i = 0; i < node->inputs().size(); ++i)
      line += (i ? ", " : "") + name(node->input(i));
    line += ")";
    for (const auto& [key, value] : node->attributes.entries()) {
      line += " " + key + "=";
      if (auto* i = std::get_if<int64_t>(&value)) line += std::to_string(*i);
      if (auto* f = std::get_if<float>(&value)) line += std::to_string(*f);
      if (auto* s = std::get_if<std::string>(&value)) line += *s;
      if (auto* is = std::get_if<std::vector<int64_t>>(&value)) {
        for (int64_t i : *is) line += std::to_string(i) + ",";
      }
      if (auto* fs = std::get_if<std::vector<float>>(&value)) {
        for (float f : *fs) line += std::to_string(f) + ",";
      }
    }
    std::string made;
    for (const Value* v : node->outputs()) made += (made.empty() ? "" : ", ") + name(v);
    out += made + " = " + line + "\n";
    for (const auto& [key, body] : node->subgraphs)
      out += "body " + key + " {\n" + Plain(*body) + "}\n";
  }
  for (const Value* v : graph.outputs()) out += "output " + name(v) + "\n";
  return out;
}

inline std::map<std::string, int> CountOps(const Graph& graph) {
  std::map<std::string, int> counts;
  for (const auto& node : graph.nodes()) ++counts[node->FullOp()];
  return counts;
}

using Tensors = std::unordered_map<std::string, Tensor>;

// Random inputs; symbolic dimensions become `symbol`.
inline Tensors RandomInputs(const Graph& graph, uint32_t seed, int64_t symbol = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Tensors inputs;
  for (const Value* v : graph.inputs()) {
    Dims dims;
    for (const Dim& d : *v->type().shape) {
      dims.push_back(d.Substitute([&](std::string_view) { return Dim(symbol); }).value());
    }
    auto t = Tensor::Allocate(v->dtype(), dims);
    EXPECT_TRUE(t.ok());
    for (int64_t i = 0; i < t->count(); ++i) {
      switch (v->dtype()) {
        case DType::kFloat32:
          reinterpret_cast<float*>(t->mutable_data())[i] = normal(random);
          break;
        case DType::kInt64:
          reinterpret_cast<int64_t*>(t->mutable_data())[i] = static_cast<int64_t>(random() % 3);
          break;
        case DType::kBool:
          t->mutable_data()[i] = random() & 1;
          break;
        default:
          t->mutable_data()[i] = static_cast<uint8_t>(random());
          break;
      }
    }
    inputs[v->name()] = *t;
  }
  return inputs;
}

inline Result<Tensors> Run(const Graph& graph, const Tensors& inputs) {
  static ThreadPool pool({.threads = 2});
  std::vector<Tensor> ordered;
  for (const Value* v : graph.inputs()) {
    auto found = inputs.find(v->name());
    if (found == inputs.end()) return InvalidArgument("no input " + v->name());
    ordered.push_back(found->second);
  }
  SLIPWAY_ASSIGN_OR_RETURN(std::vector<Tensor> made,
                           interp::Evaluate(graph, ordered, {.pool = &pool}));
  Tensors outputs;
  for (size_t i = 0; i < made.size(); ++i) outputs[graph.outputs()[i]->name()] = made[i];
  return outputs;
}

// The largest difference of all outputs relative to the largest magnitude of that output.
inline double MaxRelativeError(const Tensors& expected, const Tensors& actual) {
  double worst = 0;
  EXPECT_EQ(expected.size(), actual.size());
  for (const auto& [name, e] : expected) {
    auto found = actual.find(name);
    if (found == actual.end() || found->second.dims() != e.dims() ||
        found->second.dtype() != e.dtype()) {
      ADD_FAILURE() << "output " << name << " is missing or has another type";
      return INFINITY;
    }
    std::vector<double> a = e.ToDoubles(), b = found->second.ToDoubles();
    double range = 1e-30, difference = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      if (std::isnan(a[i]) && std::isnan(b[i])) continue;
      range = std::max(range, std::abs(a[i]));
      double d = std::abs(a[i] - b[i]);
      if (!(d <= difference)) difference = d;
    }
    worst = std::max(worst, difference / range);
  }
  return worst;
}

inline constexpr double kTolerance = 2e-6;

inline void ExpectSameResults(const Graph& before, const Graph& after,
                              double tolerance = kTolerance) {
  uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Tensors inputs = RandomInputs(before, seed);
  auto expected = Run(before, inputs), actual = Run(after, inputs);
  ASSERT_TRUE(expected.ok()) << expected.status().ToString() << "\n" << ir::ToText(before);
  ASSERT_TRUE(actual.ok()) << actual.status().ToString() << "\n" << ir::ToText(after);
  EXPECT_LE(MaxRelativeError(*expected, *actual), tolerance)
      << ir::ToText(before) << ir::ToText(after);
}

// Runs the passes on a copy and checks results, verifier, output names and that a second run finds
// nothing more.
inline std::unique_ptr<Graph> RunAndCheck(const Graph& before, const PassOptions& options,
                                          double tolerance = kTolerance) {
  auto after = before.Clone();
  PassOptions checked = options;
  checked.verify_each = true;
  auto reports = RunPasses(*after, checked);
  EXPECT_TRUE(reports.ok()) << reports.status().ToString() << "\n" << ir::ToText(*after);
  if (!reports.ok()) return after;
  EXPECT_EQ(before.outputs().size(), after->outputs().size());
  for (size_t i = 0; i < before.outputs().size(); ++i) {
    EXPECT_EQ(before.outputs()[i]->name(), after->outputs()[i]->name());
  }
  ExpectSameResults(before, *after, tolerance);
  auto again = RunPasses(*after, checked);
  EXPECT_TRUE(again.ok());
  if (again.ok()) {
    for (const PassReport& r : *again)
      EXPECT_EQ(r.changes, 0) << r.name << " does not come to rest";
  }
  return after;
}

inline PassOptions Only(std::vector<std::string> names) {
  PassOptions options;
  options.only = std::move(names);
  options.level = Level::kInteger;
  return options;
}

// The operators behind the passes, in order, which must not change what the graph computes by more
// than `tolerance` (0: not a code). `supported`: see PassOptions.
inline std::string OpsBehind(const std::string& text, PassOptions options,
                             std::function<bool(const Node&)> supported, double tolerance = 0) {
  auto before = Parse(text), after = Parse(text);
  options.supported = std::move(supported);
  options.verify_each = true;
  auto reports = RunPasses(*after, options);
  EXPECT_TRUE(reports.ok()) << reports.status().ToString();
  ExpectSameResults(*before, *after, tolerance);
  std::string ops;
  for (const auto& n : after->nodes()) ops += (ops.empty() ? "" : " ") + n->op();
  return ops;
}

// `before` must become `after` by these passes.
inline std::unique_ptr<Graph> ExpectBecomes(const std::string& before,
                                            std::vector<std::string> passes,
                                            const std::string& after,
                                            double tolerance = kTolerance) {
  auto graph = Parse(before), wanted = Parse(after);
  auto made = RunAndCheck(*graph, Only(std::move(passes)), tolerance);
  EXPECT_EQ(Plain(*made), Plain(*wanted));
  return made;
}

// These passes must leave the graph alone.
inline void ExpectUnchanged(const std::string& text, std::vector<std::string> passes) {
  ExpectBecomes(text, std::move(passes), text);
}

}  // namespace slipway::passes
