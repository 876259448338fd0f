#include "quant/reconstruct/reconstruct.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "model/ir/infer.h"
#include "model/passes/pass.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

// A copy whose inputs have `batch` as their first extent, so that shapes that are computed from it
// are constants.
Result<std::unique_ptr<Graph>> Bind(const Graph& graph, int64_t batch) {
  auto bound = graph.Clone();
  ir::InferOptions infer;
  for (const Value* in : bound->inputs()) {
    if (!in->type().known() || in->type().shape->empty())
      return InvalidArgument("reconstruction: input '" + in->name() + "' has no batch");
    const Dim& first = (*in->type().shape)[0];
    if (first.known()) {
      if (first.value() != batch)
        return InvalidArgument("reconstruction: input '" + in->name() + "' has the fixed batch " +
                               std::to_string(first.value()) +
                               "; use a model with a dynamic one, or a batch of " +
                               std::to_string(first.value()));
    } else {
      infer.symbols[first.ToString()] = batch;
    }
  }
  SLIPWAY_RETURN_IF_ERROR(ir::InferShapes(*bound, infer));
  SLIPWAY_ASSIGN_OR_RETURN(const auto reports,
                           passes::RunPasses(*bound, {.only = {"fold-constants", "remove-dead"}}));
  (void)reports;
  return bound;
}

// What gives a layer its weights: a Dequantize of constant codes; null where they are float.
Node* WeightsOf(const Graph& graph, const std::string& layer) {
  const Node* node = graph.FindNode(layer);
  Node* dq = node && node->input(1) ? node->input(1)->producer() : nullptr;
  return dq && dq->IsSlipway("Dequantize") && dq->constant_input(0) ? dq : nullptr;
}
bool IsActivationPair(const Node& quantize) {
  return quantize.IsSlipway("Quantize") && quantize.input(0) && !quantize.input(0)->is_constant();
}

// Samples [begin, end) of a tensor.
Result<Tensor> Part(const std::shared_ptr<const Tensor>& whole, int64_t begin, int64_t end) {
  Dims dims = whole->dims();
  const size_t each = whole->bytes().size() / static_cast<size_t>(std::max<int64_t>(1, dims[0]));
  dims[0] = end - begin;
  return Tensor::Wrap(whole->dtype(), dims,
                      whole->bytes().subspan(static_cast<size_t>(begin) * each,
                                             static_cast<size_t>(end - begin) * each),
                      whole);
}

// Values of all samples, by name.
using Values = std::map<std::string, std::shared_ptr<const Tensor>>;

class Network {
 public:
  Network(Graph& quantized, learn::Engine& engine, const ReconstructionOptions& options)
      : quantized_(quantized), engine_(engine), options_(options) {}
  Status Start(const Graph& original, const std::vector<Tensor>& inputs);
  // All blocks in turn. float_activations: pairs of activations are left out.
  Status Pass(bool rounding, bool scales, bool float_activations, int64_t iterations,
              std::vector<BlockReport>* reports);
  Status UpdateBiases();
  size_t size() const { return blocks_.size(); }

 private:
  // `block` of the quantized network, to be learned: weights are float behind Quantize.
  Result<std::unique_ptr<Graph>> Soft(const Block& block, bool rounding, bool float_activations);
  Status Run(const Graph& part, const Block& block, Values& values);
  void Forget(Values& values, size_t done) const;

  Graph& quantized_;
  learn::Engine& engine_;
  const ReconstructionOptions& options_;
  int64_t batch_ = 0, samples_ = 0;
  std::unique_ptr<Graph> original_, work_;  // with a bound batch; `work_` is what quantized_ is
  std::vector<Block> blocks_;
  Values inputs_;
};

Status Network::Start(const Graph& original, const std::vector<Tensor>& inputs) {
  if (inputs.size() != original.inputs().size() || inputs.empty())
    return InvalidArgument("reconstruction: " + std::to_string(inputs.size()) + " inputs for " +
                           std::to_string(original.inputs().size()));
  samples_ = inputs[0].dims().rank() > 0 ? inputs[0].dims()[0] : 0;
  if (samples_ < 1) return InvalidArgument("reconstruction: no calibration samples");
  batch_ = std::min(options_.learn.batch, samples_);
  if (batch_ < 1 || samples_ % batch_ != 0)
    return InvalidArgument("reconstruction: " + std::to_string(samples_) +
                           " samples are no multiple of the batch " + std::to_string(batch_));
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].dtype() != DType::kFloat32 || inputs[i].dims().rank() < 1 ||
        inputs[i].dims()[0] != samples_)
      return InvalidArgument("reconstruction: input '" + original.inputs()[i]->name() + "' is " +
                             inputs[i].Describe());
    inputs_[original.inputs()[i]->name()] = std::make_shared<Tensor>(inputs[i].Aligned());
  }
  SLIPWAY_ASSIGN_OR_RETURN(original_, Bind(original, batch_));
  SLIPWAY_ASSIGN_OR_RETURN(work_, Bind(quantized_, batch_));
  blocks_ = FindBlocks(*original_, options_.blocks);
  for (const Block& block : blocks_) {
    for (const std::string& layer : block.layers) {
      if (!quantized_.FindNode(layer))
        return InvalidArgument("reconstruction: the quantized graph has no node '" + layer + "'");
    }
  }
  return OkStatus();
}

Result<std::unique_ptr<Graph>> Network::Soft(const Block& block, bool rounding,
                                             bool float_activations) {
  SLIPWAY_ASSIGN_OR_RETURN(auto part, Extract(*work_, block.inputs, block.outputs));
  for (const std::string& layer : block.layers) {
    Node* dq = WeightsOf(*part, layer);
    Node* node = part->FindNode(layer);
    const Node* before = original_->FindNode(layer);
    if (!dq || !rounding) continue;
    Value* w = part->AddConstant("", *before->constant_input(1));
    const Value* codes = dq->input(0);
    Node* q = part->AddNode(
        {"Quantize", {w, dq->input(1)}, dq->attributes, ir::kSlipwayDomain, layer + "/weights"},
        dq);
    if (dq->input(2)) part->SetInput(q, 2, dq->input(2));
    q->output()->set_type(codes->type());
    part->SetInput(dq, 0, q->output());
    // The bias as it was: its codes are made again at the end.
    if (before->constant_input(2))
      part->SetInput(node, 2, part->AddConstant("", *before->constant_input(2)));
  }
  if (float_activations) {
    for (Node* node : part->NodeList()) {
      if (!IsActivationPair(*node)) continue;
      Node* dq = node->output()->OnlyUser();
      if (dq && dq->IsSlipway("Dequantize")) part->ReplaceAllUses(dq->output(), node->input(0));
    }
  }
  part->RemoveUnused();
  return part;
}

Status Network::Run(const Graph& part, const Block& block, Values& values) {
  SLIPWAY_ASSIGN_OR_RETURN(const auto module, engine_.MakeModule(part, {}));
  std::vector<Tensor> whole(block.outputs.size());
  for (int64_t begin = 0; begin < samples_; begin += batch_) {
    std::vector<Tensor> in;
    for (const std::string& name : block.inputs) {
      SLIPWAY_ASSIGN_OR_RETURN(Tensor piece, Part(values.at(name), begin, begin + batch_));
      in.push_back(std::move(piece));
    }
    SLIPWAY_ASSIGN_OR_RETURN(const auto out, module->Forward(in));
    for (size_t i = 0; i < out.size(); ++i) {
      if (begin == 0) {
        Dims dims = out[i].dims();
        if (dims.rank() < 1 || dims[0] != batch_)
          return Unsupported("reconstruction: '" + block.outputs[i] +
                             "' has no batch as its first dimension");
        dims[0] = samples_;
        SLIPWAY_ASSIGN_OR_RETURN(whole[i], Tensor::Allocate(DType::kFloat32, dims));
      }
      std::memcpy(
          whole[i].mutable_data() + static_cast<size_t>(begin / batch_) * out[i].bytes().size(),
          out[i].bytes().data(), out[i].bytes().size());
    }
  }
  for (size_t i = 0; i < whole.size(); ++i)
    values[block.outputs[i]] = std::make_shared<Tensor>(std::move(whole[i]));
  return OkStatus();
}

void Network::Forget(Values& values, size_t done) const {
  std::set<std::string> wanted;
  for (size_t i = done + 1; i < blocks_.size(); ++i)
    wanted.insert(blocks_[i].inputs.begin(), blocks_[i].inputs.end());
  std::erase_if(values, [&](const auto& entry) { return !wanted.contains(entry.first); });
}

Status Network::Pass(bool rounding, bool scales, bool float_activations, int64_t iterations,
                     std::vector<BlockReport>* reports) {
  Values floats = inputs_, codes = inputs_;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    const auto begin = std::chrono::steady_clock::now();
    if (options_.progress && !options_.progress(block, i, blocks_.size(), 0))
      return Unavailable("reconstruction was stopped");
    learn::ReconstructData data{.samples = samples_};
    for (const std::string& name : block.inputs) {
      data.inputs.push_back(*codes.at(name));
      if (options_.learn.drop > 0 && !float_activations)
        data.float_inputs.push_back(*floats.at(name));
    }
    SLIPWAY_ASSIGN_OR_RETURN(const auto plain, Extract(*original_, block.inputs, block.outputs));
    SLIPWAY_RETURN_IF_ERROR(Run(*plain, block, floats).With("block " + block.name));
    for (const std::string& name : block.outputs) data.targets.push_back(*floats.at(name));

    SLIPWAY_ASSIGN_OR_RETURN(const auto soft, Soft(block, rounding, float_activations));
    std::vector<std::string> rounded, stepped;
    for (const auto& node : soft->nodes()) {
      if (!node->IsSlipway("Quantize")) continue;
      if (IsActivationPair(*node)) {
        if (scales) stepped.push_back(node->name());
      } else if (rounding) {
        rounded.push_back(node->name());
      }
    }
    learn::ReconstructOptions learn = options_.learn;
    learn.batch = batch_;
    learn.iterations = rounded.empty() && stepped.empty() ? 0 : iterations;
    learn.seed += i;
    SLIPWAY_ASSIGN_OR_RETURN(
        const auto result,
        engine_.Reconstruct(*soft, rounded, stepped, data, learn, [&](int64_t iteration) {
          return !options_.progress || options_.progress(block, i, blocks_.size(), iteration);
        }));
    for (Graph* graph : {work_.get(), &quantized_}) {
      for (const auto& [name, chosen] : result.codes) {
        Node* dq = WeightsOf(*graph, name.substr(0, name.rfind('/')));
        if (!dq) return Internal("reconstruction: " + name + " has no codes");
        graph->SetConstant(dq->input(0), chosen);
      }
      for (const auto& [name, scale] : result.scales) {
        const Node* q = graph->FindNode(name);
        if (!q) return Internal("reconstruction: there is no " + name);
        graph->SetConstant(q->input(1), Tensor::Scalar(scale));
      }
    }
    // What the next block gets.
    SLIPWAY_ASSIGN_OR_RETURN(const auto hard, Soft(block, false, float_activations));
    SLIPWAY_RETURN_IF_ERROR(Run(*hard, block, codes).With("block " + block.name));
    Forget(floats, i);
    Forget(codes, i);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    BlockReport& report = (*reports)[i];
    report.block = block;
    if (rounding) {
      report.loss_before = result.loss_before;
      report.loss_after = result.loss_after;
    } else {
      report.scales_apart = true;
      report.scales_before = result.loss_before;
      report.scales_after = result.loss_after;
    }
    report.seconds += seconds;
    report.iterations += learn.iterations;
  }
  return OkStatus();
}

// A bias has the scale of the products that it is added to.
Status Network::UpdateBiases() {
  for (const Block& block : blocks_) {
    for (const std::string& layer : block.layers) {
      Node* node = quantized_.FindNode(layer);
      const Node* weights = WeightsOf(quantized_, layer);
      const Node* bias = node->input(2) ? node->input(2)->producer() : nullptr;
      const Node* x = node->input(0)->producer();
      const Tensor* value = original_->FindNode(layer)->constant_input(2);
      if (!weights || !value || !bias || !bias->IsSlipway("Dequantize") ||
          !bias->constant_input(0) || !x || !x->IsSlipway("Dequantize") || !x->constant_input(1))
        continue;
      const auto scales = weights->constant_input(1)->ToDoubles(), given = value->ToDoubles();
      const double sx = x->constant_input(1)->ToDoubles()[0];
      std::vector<int32_t> codes(given.size());
      std::vector<float> scale(given.size());
      bool fits = true;
      for (size_t i = 0; i < given.size(); ++i) {
        const double s = sx * scales[scales.size() > 1 ? i : 0],
                     code = std::nearbyint(given[i] / s);
        fits &= std::fabs(code) <= 1e9;
        codes[i] = fits ? static_cast<int32_t>(code) : 0;
        scale[i] = static_cast<float>(s);
      }
      if (fits) {
        quantized_.SetConstant(bias->input(0), Tensor::Of<int32_t>(value->dims(), codes));
        quantized_.SetConstant(bias->input(1), Tensor::Vector(scale));
      } else {
        quantized_.SetInput(node, 2, quantized_.AddConstant("", *value));
      }
    }
  }
  quantized_.RemoveUnused();
  return OkStatus();
}

}  // namespace

Result<ReconstructionOptions> MethodOptions(std::string_view method) {
  ReconstructionOptions options;
  if (method == "adaround") {
    options.blocks.by_layer = true;
    options.together = options.scales = false;
  } else if (method == "brecq") {
    options.together = false;
  } else if (method == "qdrop") {
    options.learn.drop = 0.5;
  } else {
    return InvalidArgument("'" + std::string(method) +
                           "' is no method of reconstruction; choose adaround, brecq or qdrop");
  }
  return options;
}

Result<std::vector<BlockReport>> Reconstruct(const Graph& original, Graph& quantized,
                                             learn::Engine& engine,
                                             const std::vector<Tensor>& inputs,
                                             const ReconstructionOptions& options) {
  Network network(quantized, engine, options);
  SLIPWAY_RETURN_IF_ERROR(network.Start(original, inputs));
  std::vector<BlockReport> reports(network.size());
  const int64_t iterations = options.learn.iterations;
  if (options.together) {
    SLIPWAY_RETURN_IF_ERROR(network.Pass(true, options.scales, false, iterations, &reports));
  } else {
    SLIPWAY_RETURN_IF_ERROR(network.Pass(true, false, true, iterations, &reports));
    if (options.scales)
      SLIPWAY_RETURN_IF_ERROR(network.Pass(false, true, false, options.scale_iterations, &reports));
  }
  SLIPWAY_RETURN_IF_ERROR(network.UpdateBiases());
  return reports;
}

}  // namespace slipway::quant
