#include "quant/reconstruct/reconstruct.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "base/hash.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"
#include "model/passes/pass.h"
#include "quant/reconstruct/importance.h"
#include "quant/schemes/placement.h"

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
bool SameConstant(const Node& a, const Node& b, size_t input) {
  const Tensor *x = a.constant_input(input), *y = b.constant_input(input);
  return x && y ? x->ToDoubles() == y->ToDoubles() : a.input(input) == b.input(input);
}
// The Quantize node whose codes this one gives again, behind a node that only moves elements; null
// for others. Their scales stay the same, so that codes can be moved.
const Node* CodesBefore(const Node& quantize) {
  const Node* move = quantize.input(0)->producer();
  const Node* dq =
      move && IsTransparent(*move) && move->input(0) ? move->input(0)->producer() : nullptr;
  const Node* q = dq && dq->IsSlipway("Dequantize") ? dq->input(0)->producer() : nullptr;
  if (!q || !IsActivationPair(*q) || !SameConstant(*q, quantize, 1) ||
      !SameConstant(*q, quantize, 2))
    return nullptr;
  for (const char* name : {"bits", "signed", "narrow"}) {
    const int64_t fallback = name == std::string_view("bits") ? 8 : name[0] == 's';
    if (q->attributes.Int(name, fallback) != quantize.attributes.Int(name, fallback))
      return nullptr;
  }
  return q;
}

std::string ModelHash(const Graph& graph) {
  Sha256 hash;
  hash.Update(ir::ToText(graph));
  for (const auto& value : graph.values()) {
    if (!value->is_constant()) continue;
    hash.Update(value->name());
    hash.Update(value->constant()->bytes());
  }
  return ToHex(hash.Finish());
}
std::string DataHash(const std::vector<Tensor>& inputs) {
  uint64_t hash = 0;
  for (const Tensor& t : inputs) hash = Hash64(t.dims().ToString(), Hash64(t.bytes(), hash));
  return std::to_string(hash);
}
// All that changes what is learned.
std::string OptionsText(const ReconstructionOptions& o) {
  const learn::ReconstructOptions& l = o.learn;
  std::string text;
  for (const double v :
       {static_cast<double>(o.blocks.by_layer), static_cast<double>(o.blocks.most_layers),
        static_cast<double>(o.together), static_cast<double>(o.scales),
        static_cast<double>(o.scale_iterations), static_cast<double>(o.fisher),
        static_cast<double>(l.iterations), static_cast<double>(l.batch), l.rounding_rate,
        l.scale_rate, l.regularisation, l.warm_up, l.beta_high, l.beta_low, l.drop})
    text += (text.empty() ? "" : " ") + std::to_string(v);
  text += " " + std::to_string(l.seed);
  // (Folders of runs without these stay good.)
  if (l.keep_zeros) text += " zeros stay";
  if (o.weights) text += " weights " + std::to_string(l.weight_rate);
  return text;
}

// Activations that have no row for each sample: transposed, or folded with another dimension.
// Where shapes are symbolic no extent is the batch by chance.
std::set<std::string> WithoutSamples(const Graph& original, const Graph& bound) {
  std::set<std::string> names;
  const Dim batch = (*original.inputs()[0]->type().shape)[0];
  const Dim rows = (*bound.inputs()[0]->type().shape)[0];
  for (const auto& value : original.values()) {
    if (value->is_constant() || value->dtype() != DType::kFloat32) continue;
    const auto& shape = value->type().shape;
    const Value* twin = bound.FindValue(value->name());
    if (shape ? shape->empty() || (*shape)[0] != batch
              : twin && twin->type().shape &&
                    (twin->type().shape->empty() || (*twin->type().shape)[0] != rows))
      names.insert(value->name());
  }
  return names;
}
// The first reason, when nothing could be learned.
Status SomethingLearned(const std::vector<BlockReport>& reports) {
  for (const BlockReport& r : reports) {
    if (r.kept.empty()) return OkStatus();
  }
  return reports.empty() ? OkStatus() : Unsupported(reports[0].kept);
}

class Network {
 public:
  Network(Graph& quantized, learn::Engine& engine, const ReconstructionOptions& options)
      : quantized_(quantized), engine_(engine), options_(options) {}
  Status Start(const Graph& original, const std::vector<Tensor>& inputs);
  // All blocks in turn, from the first that is not finished in the work folder on.
  // float_activations: pairs of activations are left out.
  Status Pass(bool rounding, bool scales, bool float_activations, int64_t iterations,
              std::vector<BlockReport>* reports);
  Status UpdateBiases();
  size_t size() const { return blocks_.size(); }

 private:
  // The layer's weights are not the original's.
  bool Differs(const std::string& layer) const;
  // `block` of the quantized network, to be learned: weights are float behind Quantize.
  // `learned`: it is to be learned, else run.
  Result<std::unique_ptr<Graph>> Soft(const Block& block, bool rounding, bool float_activations,
                                      bool learned);
  // `part` on all samples; its outputs are kept as files of this name and their number.
  Status Run(const Graph& part, const Block& block, const std::string& name, Values& values);
  Status RunBoth(size_t index, bool float_activations, Values& floats, Values& codes);
  // What lies in neither later block's inputs: also its files.
  void Forget(Values& values, size_t done, bool floats);
  Status Apply(const learn::ReconstructResult& result);
  // The float constants of a block that are trained: those that only one node reads.
  std::vector<std::string> TrainedOf(const Block& block) const;
  void Report(size_t index, bool rounding, const learn::ReconstructResult& result,
              const BlockReport& times, std::vector<BlockReport>* reports) const;
  Status Save(size_t index, const learn::ReconstructResult& result, const BlockReport& times);
  // What was saved of a block; nothing where there is none that fits.
  std::optional<std::pair<learn::ReconstructResult, BlockReport>> Saved(size_t index) const;
  // The values that block `first` and later ones read.
  Status RestoreValues(size_t first, bool float_activations, Values& floats, Values& codes);
  std::string RecordName(size_t index) const {
    return "pass" + std::to_string(pass_) + "-block" + std::to_string(index);
  }
  std::string TensorName(size_t index, size_t output, bool floats) const {
    return RecordName(index) + (floats ? "-float" : "-codes") + std::to_string(output);
  }

  Graph& quantized_;
  learn::Engine& engine_;
  const ReconstructionOptions& options_;
  int64_t batch_ = 0, samples_ = 0;
  std::unique_ptr<Graph> original_, work_;  // with a bound batch; `work_` is what quantized_ is
  std::vector<Block> blocks_;
  // Quantize nodes with the codes of another one (CodesBefore), and the first of those.
  std::map<std::string, std::string> tied_;
  Values inputs_;
  WorkFolder* work_folder_ = nullptr;
  std::unique_ptr<WorkFolder> temporary_;
  int pass_ = 0;
  bool pruned_ = false;  // a layer of this block or of one before
};

bool Network::Differs(const std::string& layer) const {
  const Tensor *a = original_->FindNode(layer)->constant_input(1),
               *b = work_->FindNode(layer)->constant_input(1);
  return a && b &&
         (a->bytes().size() != b->bytes().size() ||
          std::memcmp(a->bytes().data(), b->bytes().data(), a->bytes().size()) != 0);
}

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
    if (inputs[i].dims().rank() < 1 || inputs[i].dims()[0] != samples_)
      return InvalidArgument("reconstruction: input '" + original.inputs()[i]->name() + "' is " +
                             inputs[i].Describe());
    inputs_[original.inputs()[i]->name()] = std::make_shared<Tensor>(inputs[i].Aligned());
  }
  const auto& shape = original.inputs()[0]->type().shape;
  if (!shape || shape->empty())
    return InvalidArgument("reconstruction: the shape of input '" + original.inputs()[0]->name() +
                           "' is not known; it needs a batch dimension first");
  SLIPWAY_ASSIGN_OR_RETURN(original_, Bind(original, batch_));
  SLIPWAY_ASSIGN_OR_RETURN(work_, Bind(quantized_, batch_));
  BlockOptions find = options_.blocks;
  find.uncut = WithoutSamples(original, *original_);
  blocks_ = FindBlocks(*original_, find);
  for (const Block& block : blocks_) {
    for (const std::string& layer : block.layers) {
      if (!quantized_.FindNode(layer))
        return InvalidArgument("reconstruction: the quantized graph has no node '" + layer + "'");
    }
  }
  for (const auto& node : work_->nodes()) {
    if (!IsActivationPair(*node)) continue;
    if (const Node* before = CodesBefore(*node)) {
      const auto first = tied_.find(before->name());
      tied_[node->name()] = first == tied_.end() ? before->name() : first->second;
    }
  }
  work_folder_ = options_.work;
  if (!work_folder_) {
    SLIPWAY_ASSIGN_OR_RETURN(temporary_, WorkFolder::Open(""));
    work_folder_ = temporary_.get();
  }
  if (work_folder_->temporary()) return OkStatus();
  return work_folder_->Claim({{"model", ModelHash(original)},
                              {"scheme", ModelHash(quantized_)},
                              {"data", DataHash(inputs)},
                              {"options", OptionsText(options_)},
                              {"engine", engine_.Describe()}});
}

Result<std::unique_ptr<Graph>> Network::Soft(const Block& block, bool rounding,
                                             bool float_activations, bool learned) {
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
  // Codes that come again are not rounded again while their scale is learned.
  if (float_activations || learned) {
    for (Node* node : part->NodeList()) {
      if (!IsActivationPair(*node) || (!float_activations && !tied_.contains(node->name())))
        continue;
      Node* dq = node->output()->OnlyUser();
      if (dq && dq->IsSlipway("Dequantize")) part->ReplaceAllUses(dq->output(), node->input(0));
    }
  }
  part->RemoveUnused();
  return part;
}

Status Network::Run(const Graph& part, const Block& block, const std::string& name,
                    Values& values) {
  SLIPWAY_ASSIGN_OR_RETURN(const auto module, engine_.MakeModule(part, {}));
  std::vector<std::unique_ptr<WorkFolder::Writer>> writers(block.outputs.size());
  std::vector<Dims> dims(block.outputs.size());
  for (size_t i = 0; i < writers.size(); ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(writers[i],
                             work_folder_->NewTensor(name.empty() ? "" : name + std::to_string(i)));
  }
  for (int64_t begin = 0; begin < samples_; begin += batch_) {
    std::vector<Tensor> in;
    for (const std::string& from : block.inputs) {
      SLIPWAY_ASSIGN_OR_RETURN(Tensor piece, Samples(values.at(from), begin, begin + batch_));
      in.push_back(std::move(piece));
    }
    SLIPWAY_ASSIGN_OR_RETURN(const auto out, module->Forward(in));
    for (size_t i = 0; i < out.size(); ++i) {
      dims[i] = out[i].dims();
      if (dims[i].rank() < 1 || dims[i][0] != batch_ || out[i].dtype() != DType::kFloat32)
        return Unsupported("reconstruction: '" + block.outputs[i] +
                           "' has no batch as its first dimension");
      SLIPWAY_RETURN_IF_ERROR(writers[i]->Append(out[i].bytes()));
    }
  }
  for (size_t i = 0; i < writers.size(); ++i) {
    dims[i][0] = samples_;
    SLIPWAY_ASSIGN_OR_RETURN(values[block.outputs[i]], writers[i]->Finish(dims[i]));
  }
  return OkStatus();
}

Status Network::RunBoth(size_t index, bool float_activations, Values& floats, Values& codes) {
  const Block& block = blocks_[index];
  SLIPWAY_ASSIGN_OR_RETURN(const auto plain, Extract(*original_, block.inputs, block.outputs));
  SLIPWAY_ASSIGN_OR_RETURN(const auto hard, Soft(block, false, float_activations, false));
  SLIPWAY_RETURN_IF_ERROR(
      Run(*plain, block, RecordName(index) + "-float", floats).With("block " + block.name));
  return Run(*hard, block, RecordName(index) + "-codes", codes).With("block " + block.name);
}

void Network::Forget(Values& values, size_t done, bool floats) {
  std::set<std::string> wanted;
  for (size_t i = done + 1; i < blocks_.size(); ++i)
    wanted.insert(blocks_[i].inputs.begin(), blocks_[i].inputs.end());
  for (size_t i = 0; i <= done; ++i) {
    for (size_t j = 0; j < blocks_[i].outputs.size(); ++j) {
      const std::string& name = blocks_[i].outputs[j];
      if (wanted.contains(name) || !values.contains(name)) continue;
      work_folder_->Remove(TensorName(i, j, floats));
      values.erase(name);
    }
  }
  std::erase_if(values, [&](const auto& entry) { return !wanted.contains(entry.first); });
}

std::vector<std::string> Network::TrainedOf(const Block& block) const {
  std::vector<std::string> names;
  for (const std::string& layer : block.layers) {
    const Node* node = work_->FindNode(layer);
    for (const size_t input : {1, 2}) {
      const Tensor* t = node->constant_input(input);
      if (t && t->dtype() == DType::kFloat32 && node->input(input)->OnlyUser() == node &&
          quantized_.FindValue(node->input(input)->name()))
        names.push_back(node->input(input)->name());
    }
  }
  return names;
}

Status Network::Apply(const learn::ReconstructResult& result) {
  for (Graph* graph : {work_.get(), &quantized_}) {
    for (const auto& [name, trained] : result.weights) {
      Value* value = graph->FindValue(name);
      if (!value || !value->is_constant())
        return Internal("reconstruction: there is no constant " + name);
      graph->SetConstant(value, trained);
    }
    for (const auto& [name, chosen] : result.codes) {
      Node* dq = WeightsOf(*graph, name.substr(0, name.rfind('/')));
      if (!dq) return Internal("reconstruction: " + name + " has no codes");
      graph->SetConstant(dq->input(0), chosen);
    }
    for (const auto& [name, scale] : result.scales) {
      const Node* q = graph->FindNode(name);
      if (!q) return Internal("reconstruction: there is no " + name);
      graph->SetConstant(q->input(1), Tensor::Scalar(scale));
      for (const auto& [again, first] : tied_) {
        if (first != name) continue;
        if (const Node* node = graph->FindNode(again))
          graph->SetConstant(node->input(1), Tensor::Scalar(scale));
      }
    }
  }
  return OkStatus();
}

void Network::Report(size_t index, bool rounding, const learn::ReconstructResult& result,
                     const BlockReport& times, std::vector<BlockReport>* reports) const {
  BlockReport& report = (*reports)[index];
  report.block = blocks_[index];
  if (rounding || options_.weights) {
    report.loss_before = result.loss_before;
    report.loss_after = result.loss_after;
    if (rounding) {
      report.rounding_seconds = times.learn_seconds;
      report.rounding_iterations = times.iterations;
    }
  } else {
    report.scales_apart = true;
    report.scales_before = result.loss_before;
    report.scales_after = result.loss_after;
  }
  if (report.kept.empty()) report.kept = times.kept;
  report.seconds += times.seconds;
  report.learn_seconds += times.learn_seconds;
  report.iterations += times.iterations;
}

Status Network::Save(size_t index, const learn::ReconstructResult& result,
                     const BlockReport& times) {
  RecordWriter w;
  w.Number(result.codes.size());
  for (const auto& [name, codes] : result.codes) w.Bytes(name), w.Tensor(codes);
  w.Number(result.scales.size());
  for (const auto& [name, scale] : result.scales) w.Bytes(name), w.Real(double{scale});
  if (options_.weights) {
    w.Number(result.weights.size());
    for (const auto& [name, weights] : result.weights) w.Bytes(name), w.Tensor(weights);
  }
  w.Real(result.loss_before), w.Real(result.loss_after);
  w.Real(times.seconds), w.Real(times.learn_seconds);
  w.Number(static_cast<uint64_t>(times.iterations));
  if (!times.kept.empty()) w.Bytes(times.kept);
  return work_folder_->SaveRecord(RecordName(index), w.bytes());
}

std::optional<std::pair<learn::ReconstructResult, BlockReport>> Network::Saved(size_t index) const {
  const auto bytes = work_folder_->FindRecord(RecordName(index));
  if (!bytes) return std::nullopt;
  learn::ReconstructResult result;
  BlockReport times;
  RecordReader r(*bytes);
  bool fits = true;
  for (uint64_t left = r.Number(); r.ok() && left > 0; --left) {
    const std::string name(r.Bytes());
    Tensor codes = r.Tensor();
    const Node* dq = WeightsOf(*work_, name.substr(0, name.rfind('/')));
    fits &= dq && dq->constant_input(0)->dims() == codes.dims() &&
            dq->constant_input(0)->dtype() == codes.dtype();
    result.codes.emplace_back(name, std::move(codes));
  }
  for (uint64_t left = r.Number(); r.ok() && left > 0; --left) {
    const std::string name(r.Bytes());
    result.scales.emplace_back(name, static_cast<float>(r.Real()));
    const Node* q = work_->FindNode(name);
    fits &=
        q && q->IsSlipway("Quantize") && q->constant_input(1) && result.scales.back().second > 0;
  }
  for (uint64_t left = options_.weights ? r.Number() : 0; r.ok() && left > 0; --left) {
    const std::string name(r.Bytes());
    Tensor weights = r.Tensor();
    const Value* value = work_->FindValue(name);
    fits &= value && value->is_constant() && value->constant()->dims() == weights.dims() &&
            value->dtype() == weights.dtype();
    result.weights.emplace_back(name, std::move(weights));
  }
  result.loss_before = r.Real(), result.loss_after = r.Real();
  times.seconds = r.Real(), times.learn_seconds = r.Real();
  times.iterations = static_cast<int64_t>(r.Number());
  if (r.ok() && !r.AtEnd()) times.kept = r.Bytes();
  if (!r.AtEnd() || !fits) return std::nullopt;
  return std::pair(std::move(result), std::move(times));
}

Status Network::RestoreValues(size_t first, bool float_activations, Values& floats, Values& codes) {
  std::set<std::string> wanted;
  for (size_t i = first; i < blocks_.size(); ++i)
    wanted.insert(blocks_[i].inputs.begin(), blocks_[i].inputs.end());
  bool found = true;
  for (size_t i = 0; i < first && found; ++i) {
    for (size_t j = 0; j < blocks_[i].outputs.size() && found; ++j) {
      const std::string& name = blocks_[i].outputs[j];
      if (!wanted.contains(name)) continue;
      for (const bool is_float : {true, false}) {
        auto t = work_folder_->FindTensor(TensorName(i, j, is_float));
        if (found &= t && (*t)->dims().rank() > 0 && (*t)->dims()[0] == samples_; found)
          (is_float ? floats : codes)[name] = *t;
      }
    }
  }
  if (found) return OkStatus();
  floats = codes = inputs_;
  for (size_t i = 0; i < first; ++i) {
    SLIPWAY_RETURN_IF_ERROR(RunBoth(i, float_activations, floats, codes));
    Forget(floats, i, true);
    Forget(codes, i, false);
  }
  return OkStatus();
}

Status Network::Pass(bool rounding, bool scales, bool float_activations, int64_t iterations,
                     std::vector<BlockReport>* reports) {
  Values floats = inputs_, codes = inputs_;
  size_t first = 0;
  for (; first < blocks_.size(); ++first) {
    const auto saved = Saved(first);
    if (!saved) break;
    for (const std::string& layer : blocks_[first].layers) pruned_ |= Differs(layer);
    SLIPWAY_RETURN_IF_ERROR(Apply(saved->first));
    Report(first, rounding, saved->first, saved->second, reports);
  }
  if (first > 0 && first < blocks_.size())
    SLIPWAY_RETURN_IF_ERROR(RestoreValues(first, float_activations, floats, codes));
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
  };
  for (size_t i = first; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    const auto begin = Clock::now();
    if (options_.progress && !options_.progress(block, i, blocks_.size(), 0))
      return Unavailable("reconstruction was stopped");
    learn::ReconstructData data{.samples = samples_};
    for (const std::string& name : block.inputs) {
      data.inputs.push_back(*codes.at(name));
      if (options_.learn.drop > 0 && !float_activations)
        data.float_inputs.push_back(*floats.at(name));
    }
    SLIPWAY_ASSIGN_OR_RETURN(const auto plain, Extract(*original_, block.inputs, block.outputs));
    SLIPWAY_RETURN_IF_ERROR(
        Run(*plain, block, RecordName(i) + "-float", floats).With("block " + block.name));
    for (const std::string& name : block.outputs) data.targets.push_back(*floats.at(name));
    if (options_.fisher) {
      SLIPWAY_ASSIGN_OR_RETURN(data.importance,
                               Importance(*original_, block, floats, samples_, batch_, engine_,
                                          *work_folder_, options_.learn.seed));
    }

    SLIPWAY_ASSIGN_OR_RETURN(const auto soft, Soft(block, rounding, float_activations, true));
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
    if (options_.weights) {
      for (const std::string& layer : block.layers) pruned_ |= Differs(layer);
      if (pruned_) learn.weights = TrainedOf(block);
    }
    learn.iterations = rounded.empty() && stepped.empty() && learn.weights.empty() ? 0 : iterations;
    learn.seed += i;
    auto learned =
        engine_.Reconstruct(*soft, rounded, stepped, data, learn, [&](int64_t iteration) {
          return !options_.progress || options_.progress(block, i, blocks_.size(), iteration);
        });
    BlockReport times;
    if (!learned.ok() && learned.status().code() == StatusCode::kUnsupported) {
      times.kept = learned.status().message();
      learn.iterations = 0;
      learn.weights.clear();
      learned = engine_.Reconstruct(*soft, {}, {}, data, learn);  // its error as it is
    }
    SLIPWAY_ASSIGN_OR_RETURN(const auto result, std::move(learned));
    SLIPWAY_RETURN_IF_ERROR(Apply(result));
    // What the next block gets.
    SLIPWAY_ASSIGN_OR_RETURN(const auto hard, Soft(block, false, float_activations, false));
    SLIPWAY_RETURN_IF_ERROR(
        Run(*hard, block, RecordName(i) + "-codes", codes).With("block " + block.name));
    times.seconds = since(begin);
    times.learn_seconds = result.seconds;
    times.iterations = learn.iterations;
    SLIPWAY_RETURN_IF_ERROR(Save(i, result, times));
    Report(i, rounding, result, times, reports);
    Forget(floats, i, true);
    Forget(codes, i, false);
  }
  ++pass_;
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
  SetIterations(options.learn.iterations, &options);
  return options;
}

void SetIterations(int64_t iterations, ReconstructionOptions* options) {
  options->learn.iterations = iterations;
  options->scale_iterations = std::max<int64_t>(1, iterations / 4);
  options->learn.rounding_rate =
      std::clamp(20.0 / static_cast<double>(std::max<int64_t>(1, iterations)), 1e-3, 1e-2);
}

Result<std::vector<BlockReport>> Reconstruct(const Graph& original, Graph& quantized,
                                             learn::Engine& engine,
                                             const std::vector<Tensor>& inputs,
                                             const ReconstructionOptions& options) {
  Network network(quantized, engine, options);
  SLIPWAY_RETURN_IF_ERROR(network.Start(original, inputs));
  std::vector<BlockReport> reports(network.size());
  const int64_t iterations = options.learn.iterations;
  if (options.weights) {
    SLIPWAY_RETURN_IF_ERROR(network.Pass(false, false, false, iterations, &reports));
    SLIPWAY_RETURN_IF_ERROR(SomethingLearned(reports));
    return reports;
  }
  if (options.together) {
    SLIPWAY_RETURN_IF_ERROR(network.Pass(true, options.scales, false, iterations, &reports));
  } else {
    SLIPWAY_RETURN_IF_ERROR(network.Pass(true, false, true, iterations, &reports));
    if (options.scales)
      SLIPWAY_RETURN_IF_ERROR(network.Pass(false, true, false, options.scale_iterations, &reports));
  }
  SLIPWAY_RETURN_IF_ERROR(SomethingLearned(reports));
  SLIPWAY_RETURN_IF_ERROR(network.UpdateBiases());
  return reports;
}

}  // namespace slipway::quant
