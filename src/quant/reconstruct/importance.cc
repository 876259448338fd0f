#include "quant/reconstruct/importance.h"

#include <algorithm>
#include <cmath>

#include "base/hash.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

enum class Likelihood { kScores, kProbabilities, kLogProbabilities, kGaussian };

Likelihood LikelihoodOf(const Value& output) {
  if (!output.type().shape || output.type().shape->size() != 2 ||
      ((*output.type().shape)[1].known() && (*output.type().shape)[1].value() < 2))
    return Likelihood::kGaussian;
  const Node* node = output.producer();
  if (node && node->Is("Softmax")) return Likelihood::kProbabilities;
  if (node && node->Is("LogSoftmax")) return Likelihood::kLogProbabilities;
  return Likelihood::kScores;
}

// In [0, 1), the same for the same numbers everywhere.
double Uniform(uint64_t seed, uint64_t sample) {
  return static_cast<double>(HashCombine(HashCombine(seed, 0x5EED), sample) >> 11) * 0x1p-53;
}

// The derivative of the negative log likelihood of a drawn label (or a random sign) by one sample's
// outputs.
void Derivative(Likelihood kind, std::span<const float> y, std::span<float> g, uint64_t seed,
                uint64_t sample) {
  if (kind == Likelihood::kGaussian) {
    for (size_t i = 0; i < g.size(); ++i)
      g[i] = HashCombine(HashCombine(seed, sample), i) & 1 ? 1.0f : -1.0f;
    return;
  }
  std::vector<double> p(y.begin(), y.end());
  if (kind != Likelihood::kProbabilities) {
    const double most = *std::max_element(p.begin(), p.end());
    for (double& v : p) v = std::exp(v - most);
  }
  double sum = 0;
  for (double& v : p) sum += v = std::isfinite(v) ? std::max(v, 0.0) : 0.0;
  const double at = Uniform(seed, sample) * sum;
  size_t label = 0;
  for (double below = p[0]; label + 1 < p.size() && below <= at; below += p[label]) ++label;
  for (size_t i = 0; i < g.size(); ++i) {
    const double one = i == label ? 1 : 0;
    g[i] =
        static_cast<float>(kind == Likelihood::kScores          ? p[i] / sum - one
                           : kind == Likelihood::kProbabilities ? -one / std::max(p[i] / sum, 1e-6)
                                                                : -one);
  }
}

}  // namespace

Result<Tensor> Samples(const std::shared_ptr<const Tensor>& whole, int64_t begin, int64_t end) {
  Dims dims = whole->dims();
  const size_t each = whole->bytes().size() / static_cast<size_t>(std::max<int64_t>(1, dims[0]));
  dims[0] = end - begin;
  return Tensor::Wrap(whole->dtype(), dims,
                      whole->bytes().subspan(static_cast<size_t>(begin) * each,
                                             static_cast<size_t>(end - begin) * each),
                      whole);
}

Result<std::vector<Tensor>> Importance(const Graph& graph, const Block& block, const Values& values,
                                       int64_t samples, int64_t batch, learn::Engine& engine,
                                       WorkFolder& work, uint64_t seed) {
  // The rest of the graph, from what is known.
  std::vector<std::string> inputs, outputs;
  std::vector<Likelihood> kinds;
  for (const auto& [name, value] : values) inputs.push_back(name);
  for (const Value* output : graph.outputs()) {
    if (output->dtype() != DType::kFloat32) continue;
    outputs.push_back(output->name());
    kinds.push_back(LikelihoodOf(*output));
  }
  SLIPWAY_ASSIGN_OR_RETURN(const auto rest, Extract(graph, inputs, outputs));
  SLIPWAY_ASSIGN_OR_RETURN(const auto module, engine.MakeModule(*rest, {}));
  std::vector<std::unique_ptr<WorkFolder::Writer>> writers(block.outputs.size());
  for (auto& writer : writers) {
    SLIPWAY_ASSIGN_OR_RETURN(writer, work.NewTensor(""));
  }
  std::vector<Dims> dims(writers.size());
  std::vector<double> sums(writers.size());
  for (int64_t begin = 0; begin < samples; begin += batch) {
    std::vector<Tensor> in;
    for (const std::string& name : inputs) {
      SLIPWAY_ASSIGN_OR_RETURN(Tensor piece, Samples(values.at(name), begin, begin + batch));
      in.push_back(std::move(piece));
    }
    SLIPWAY_ASSIGN_OR_RETURN(const auto out, module->Forward(in));
    std::vector<Tensor> seeds;
    for (size_t i = 0; i < out.size(); ++i) {
      SLIPWAY_ASSIGN_OR_RETURN(Tensor g, Tensor::Allocate(DType::kFloat32, out[i].dims()));
      if (out[i].dims().rank() < 1 || out[i].dims()[0] != batch || out[i].count() == 0)
        return Unsupported("reconstruction: output '" + outputs[i] +
                           "' has no batch as its first dimension");
      const auto each = static_cast<size_t>(out[i].count() / batch);
      for (int64_t s = 0; s < batch; ++s) {
        const auto at = static_cast<size_t>(s) * each;
        Derivative(kinds[i], {out[i].data<float>() + at, each},
                   {reinterpret_cast<float*>(g.mutable_data()) + at, each}, HashCombine(seed, i),
                   static_cast<uint64_t>(begin + s));
      }
      seeds.push_back(std::move(g));
    }
    SLIPWAY_ASSIGN_OR_RETURN(auto gradients, module->Backward(in, seeds, block.outputs));
    for (size_t i = 0; i < writers.size(); ++i) {
      Tensor& g = gradients.values[i];
      auto* v = reinterpret_cast<float*>(g.mutable_data());
      for (int64_t j = 0; j < g.count(); ++j) {
        v[j] = std::isfinite(v[j]) ? v[j] * v[j] : 0.0f;
        sums[i] += double{v[j]};
      }
      dims[i] = g.dims();
      SLIPWAY_RETURN_IF_ERROR(writers[i]->Append(g.bytes()));
    }
  }
  std::vector<Tensor> importance;
  for (size_t i = 0; i < writers.size(); ++i) {
    dims[i][0] = samples;
    SLIPWAY_ASSIGN_OR_RETURN(const auto squares, writers[i]->Finish(dims[i]));
    const double mean = sums[i] / static_cast<double>(std::max<int64_t>(1, squares->count()));
    const float factor = mean > 1e-30 ? static_cast<float>(0.5 / mean) : 0.0f;
    SLIPWAY_ASSIGN_OR_RETURN(const auto scaled, work.NewTensor(""));
    for (int64_t begin = 0; begin < samples; begin += batch) {
      SLIPWAY_ASSIGN_OR_RETURN(const Tensor piece, Samples(squares, begin, begin + batch));
      SLIPWAY_ASSIGN_OR_RETURN(Tensor to, Tensor::Allocate(DType::kFloat32, piece.dims()));
      auto* v = reinterpret_cast<float*>(to.mutable_data());
      for (int64_t j = 0; j < piece.count(); ++j) v[j] = 0.5f + factor * piece.data<float>()[j];
      SLIPWAY_RETURN_IF_ERROR(scaled->Append(to.bytes()));
    }
    SLIPWAY_ASSIGN_OR_RETURN(const auto whole, scaled->Finish(dims[i]));
    importance.push_back(*whole);
  }
  return importance;
}

}  // namespace slipway::quant
