#include "quant/reconstruct/block_walk.h"

#include <set>

namespace slipway::quant {

Status BlockWalk::Read(const BatchSource& data) {
  for (int64_t i = 0;; ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(const auto inputs, data(i));
    if (inputs.empty()) return OkStatus();
    if (inputs.size() != graph_.inputs().size())
      return InvalidArgument("the data has " + std::to_string(inputs.size()) +
                             " inputs, the model " + std::to_string(graph_.inputs().size()));
    Batch batch;
    for (size_t j = 0; j < inputs.size(); ++j) batch[graph_.inputs()[j]->name()] = inputs[j];
    batches_.push_back(std::move(batch));
  }
}

Status BlockWalk::Evaluate(const Block& block, const std::vector<std::string>& names,
                           const std::function<Status(const std::vector<ir::Tensor>&)>& see) const {
  SLIPWAY_ASSIGN_OR_RETURN(const auto part, Extract(graph_, block.inputs, names));
  SLIPWAY_ASSIGN_OR_RETURN(const GraphRunner run, make_(*part));
  for (const Batch& batch : batches_) {
    std::vector<ir::Tensor> in;
    for (const std::string& name : block.inputs) in.push_back(batch.at(name));
    SLIPWAY_ASSIGN_OR_RETURN(const auto out, run(in));
    SLIPWAY_RETURN_IF_ERROR(see(out));
  }
  return OkStatus();
}

Status BlockWalk::ForEach(const std::function<Status(const Block&)>& visit,
                          const std::function<bool()>& done) {
  const std::vector<Block> blocks = FindBlocks(graph_);
  for (size_t i = 0; i < blocks.size() && !(done && done()); ++i) {
    const Block& block = blocks[i];
    SLIPWAY_RETURN_IF_ERROR(visit(block).With("block " + block.name));
    auto batch = batches_.begin();
    SLIPWAY_RETURN_IF_ERROR(Evaluate(block, block.outputs, [&](const auto& out) {
                              for (size_t o = 0; o < out.size(); ++o)
                                (*batch)[block.outputs[o]] = out[o];
                              ++batch;
                              return OkStatus();
                            }).With("block " + block.name));
    std::set<std::string> wanted;
    for (size_t j = i + 1; j < blocks.size(); ++j)
      wanted.insert(blocks[j].inputs.begin(), blocks[j].inputs.end());
    for (Batch& b : batches_)
      std::erase_if(b, [&](const auto& entry) { return !wanted.contains(entry.first); });
  }
  return OkStatus();
}

}  // namespace slipway::quant
