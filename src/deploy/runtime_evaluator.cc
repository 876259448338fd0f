#include "deploy/runtime_evaluator.h"

#include <algorithm>

#include "deploy/model_io.h"
#include "deploy/runner.h"

namespace slipway::deploy {
namespace {

constexpr int64_t kShownBytes = int64_t{16} << 20;

// Samples to run at a time; 0: the batch is fixed.
int64_t PartOf(const ir::Graph& graph, const std::vector<const ir::Value*>& shown) {
  std::string batch;
  for (const ir::Value* v : graph.inputs()) {
    const ir::Type& input = v->type();
    if (!input.known() || input.shape->empty() || (*input.shape)[0].known()) return 0;
    const std::string name = (*input.shape)[0].ToString();
    if (!batch.empty() && name != batch) return 0;
    batch = name;
  }
  if (batch.empty()) return 0;
  double bytes = 0;
  for (const ir::Value* v : shown) {
    if (!v->type().known() || v->type().shape->empty()) return 0;
    // A value that mixes samples could not be put together from parts.
    if ((*v->type().shape)[0].ToString() != batch && v->producer()) {
      bool depends = false;
      for (const Dim& d : *v->type().shape) {
        for (const std::string& s : d.Symbols()) depends |= s == batch;
      }
      if (!depends) return 0;
    }
    double count = 4;
    for (const Dim& d : *v->type().shape) {
      const auto extent = d.Evaluate([](std::string_view) { return std::optional<int64_t>(1); });
      count *= extent.ok() ? static_cast<double>(*extent) : 1;
    }
    bytes += count;
  }
  return std::max<int64_t>(1, static_cast<int64_t>(double{kShownBytes} / std::max(bytes, 1.0)));
}

struct Compiled {
  std::unique_ptr<ir::Graph> graph;  // with all outputs
  std::optional<Session> session;
  std::vector<const ir::Value*> outputs;  // of `source`, by the session's outputs; null: own
  std::vector<const ir::Value*> inputs;   // of `source` that are shown
  size_t own = 0;
  int64_t part = 0;
};

// Rows [begin, end) of a tensor, without a copy.
Result<ir::Tensor> Rows(const ir::Tensor& t, int64_t begin, int64_t end) {
  Dims dims = t.dims();
  const size_t each = t.bytes().size() / static_cast<size_t>(std::max<int64_t>(1, dims[0]));
  dims[0] = end - begin;
  return ir::Tensor::Wrap(
      t.dtype(), dims,
      t.bytes().subspan(static_cast<size_t>(begin) * each, static_cast<size_t>(end - begin) * each),
      std::make_shared<ir::Tensor>(t));
}

}  // namespace

Result<quant::Evaluator> RuntimeEvaluator(const ir::Graph& graph,
                                          const std::set<std::string>& names, int threads) {
  auto c = std::make_shared<Compiled>();
  c->graph = graph.Clone();
  c->own = graph.outputs().size();
  std::vector<const ir::Value*> shown;
  c->outputs.resize(c->own);
  for (const std::string& name : names) {
    const ir::Value* value = graph.FindValue(name);
    if (!value || value->is_constant())
      return Unsupported("there is no value '" + name + "' to observe");
    if (!value->producer()) {
      c->inputs.push_back(value);
      continue;
    }
    shown.push_back(value);
    c->outputs.push_back(value);
    ir::Value* copy = c->graph->FindValue(name);
    if (copy->is_output()) {  // an output of its own would be one value twice
      const auto& outputs = c->graph->outputs();
      const auto at = std::find(outputs.begin(), outputs.end(), copy);
      c->outputs[static_cast<size_t>(at - outputs.begin())] = value;
      c->outputs.pop_back();
    } else {
      c->graph->AddOutput(copy);
    }
  }
  c->part = PartOf(graph, shown);
  SLIPWAY_ASSIGN_OR_RETURN(const compiler::Platform platform, GetPlatform(HostPlatform()));
  compiler::CompileOptions options;
  options.threads = std::max(1, threads);
  SLIPWAY_ASSIGN_OR_RETURN(const CompiledModel model, CompileModel(*c->graph, platform, options));
  SLIPWAY_ASSIGN_OR_RETURN(Session session,
                           Session::FromBytes(model.bytes, {.threads = std::max(1, threads)}));
  c->session.emplace(std::move(session));
  if (c->session->outputs().size() != c->outputs.size())
    return Internal("a compiled model lost outputs");
  return quant::Evaluator([c](const std::vector<ir::Tensor>& inputs,
                              const quant::ValueObserver& observer)
                              -> Result<std::vector<ir::Tensor>> {
    const int64_t rows = inputs.empty() || inputs[0].dims().rank() == 0 ? 0 : inputs[0].dims()[0];
    const int64_t part = c->part > 0 && rows > 0 ? std::min(c->part, rows) : rows;
    if (observer) {
      for (size_t i = 0; i < inputs.size() && i < c->graph->inputs().size(); ++i) {
        for (const ir::Value* v : c->inputs) {
          if (v->name() == c->graph->inputs()[i]->name()) observer(*v, inputs[i]);
        }
      }
    }
    std::vector<ir::Tensor> results;
    for (int64_t begin = 0; begin == 0 || begin < rows; begin += std::max<int64_t>(1, part)) {
      std::vector<ir::Tensor> piece = inputs;
      if (part < rows) {
        for (size_t i = 0; i < piece.size(); ++i) {
          SLIPWAY_ASSIGN_OR_RETURN(piece[i], Rows(inputs[i], begin, std::min(rows, begin + part)));
        }
      }
      SLIPWAY_RETURN_IF_ERROR(c->session->SetInputs(piece));
      SLIPWAY_RETURN_IF_ERROR(c->session->RunOnly());
      for (size_t i = 0; i < c->outputs.size() && observer; ++i) {
        if (!c->outputs[i]) continue;
        SLIPWAY_ASSIGN_OR_RETURN(const ir::Tensor shown, c->session->View(i));
        observer(*c->outputs[i], shown);
      }
      if (part == rows) {  // else nobody could use pieces of them
        for (size_t i = 0; i < c->own; ++i) {
          SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor out, c->session->Output(i));
          results.push_back(std::move(out));
        }
        break;
      }
    }
    return results;
  });
}

Result<quant::Evaluator> FastestEvaluator(const ir::Graph& graph,
                                          const std::set<std::string>& names, Parallel* pool,
                                          std::string* why) {
  auto fast = RuntimeEvaluator(graph, names, pool ? pool->threads() : 1);
  if (fast.ok()) return fast;
  if (why) *why = fast.status().message();
  return quant::InterpreterEvaluator(graph, pool);
}

}  // namespace slipway::deploy
