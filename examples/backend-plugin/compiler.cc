// The compile side: which nodes the NPU takes, and its program for each partition of them. The NPU
// knows convolutions and linear layers of 8-bit codes and the plugin's own pooling; all else falls
// back to the platform's other backends.

#include "slipway/compiler.h"

#include <algorithm>
#include <map>

#include "npu.h"

namespace acme {
namespace {

// A node with its operands.
struct Node {
  const slipway_graph* graph;
  const slipway_node* node;

  bool Is(const char* domain, const char* op) const {
    return std::strcmp(node->domain, domain) == 0 && std::strcmp(node->op, op) == 0;
  }
  const slipway_value* input(uint32_t i) const {
    return i < node->num_inputs && node->inputs[i] >= 0 ? &graph->values[node->inputs[i]] : nullptr;
  }
  const slipway_value* output() const { return &graph->values[node->outputs[0]]; }
  const slipway_attribute* Find(const char* name) const {
    for (uint32_t i = 0; i < node->num_attributes; ++i) {
      if (std::strcmp(node->attributes[i].name, name) == 0) return &node->attributes[i];
    }
    return nullptr;
  }
  int64_t Int(const char* name, int64_t fallback) const {
    const slipway_attribute* a = Find(name);
    return a ? a->i : fallback;
  }
  int64_t Element(const char* name, uint32_t at, int64_t fallback) const {
    const slipway_attribute* a = Find(name);
    return a && at < a->count ? a->ints[at] : fallback;
  }
};

bool IsCode(const slipway_value* v) { return v && (v->dtype == kInt8 || v->dtype == kUInt8); }

// The integer operators are described in docs/operators.md; empty: the NPU takes the node.
std::string WhyNotProduct(const Node& n, bool conv) {
  const slipway_value *x = n.input(0), *w = n.input(1), *m = n.input(2), *b = n.input(3);
  if (!IsCode(x)) return "input is no 8-bit code";
  if (!IsCode(n.output())) return "output is no 8-bit code";
  if (!w || !w->is_constant || w->dtype != kInt8) return "weights are no int8 constant";
  if (w->bytes > kWeightMemory)
    return "weights of " + std::to_string(w->bytes >> 10) + " KiB, the NPU holds " +
           std::to_string(kWeightMemory >> 10);
  if (!m || !m->is_constant || (b && !b->is_constant)) return "multiplier or bias is computed";
  if (n.input(4)) return "residual";
  if (const slipway_attribute* a = n.Find("activation"); a && std::strcmp(a->s, "none") != 0)
    return std::string("activation ") + a->s;
  if (!conv) return w->rank == 2 && x->rank >= 1 ? "" : "rank of its operands";
  if (x->rank != 4 || w->rank != 4) return "not two-dimensional";
  if (n.Int("group", 1) != 1) return "group " + std::to_string(n.Int("group", 1));
  for (uint32_t i = 0; i < 2; ++i) {
    if (n.Element("dilations", i, 1) != 1)
      return "dilation " + std::to_string(n.Element("dilations", i, 1));
  }
  return "";
}

std::string WhyNot(const Node& n) {
  if (n.Is("slipway", "QConv")) return WhyNotProduct(n, true);
  if (n.Is("slipway", "QLinear")) return WhyNotProduct(n, false);
  if (n.Is("acme", "GridMaxPool")) return IsCode(n.input(0)) ? "" : "input is no 8-bit code";
  return "the NPU has no such operator";
}

int Supports(void*, const slipway_graph* graph, const slipway_target*, slipway_error* reason) {
  const std::string why = WhyNot({graph, &graph->nodes[0]});
  return why.empty() ? SLIPWAY_OK : Fail(reason, SLIPWAY_UNSUPPORTED, why);
}

int Candidates(void*, const slipway_graph* graph, const slipway_target*,
               const slipway_candidate_sink* sink, slipway_error*) {
  const Node n{graph, &graph->nodes[0]};
  slipway_candidate c{};
  c.struct_size = sizeof c;
  c.kernel = n.Is("acme", "GridMaxPool") ? "npu:pool" : "npu:mac";
  c.cost_us =
      -1;  // estimated from these shares of the machine's rates; a real NPU would know its price
  c.compute_efficiency = 0.05;
  c.memory_efficiency = 0.2;
  c.overhead_us = 1;
  c.in_place = -1;
  return sink->add(sink->host, &c);
}

void WriteRequantize(const Node& n, uint64_t channels, Writer& to) {
  const bool is_signed = n.output()->dtype == kInt8;
  for (const auto& [name, fallback] : {std::pair{"x_zero_point", 0},
                                       {"y_zero_point", 0},
                                       {"q_min", is_signed ? -128 : 0},
                                       {"q_max", is_signed ? 127 : 255}})
    to.U32(static_cast<uint64_t>(n.Int(name, fallback)));
  const slipway_value *m = n.input(2), *b = n.input(3);
  const auto* multipliers = static_cast<const float*>(m->data);
  const bool one = m->bytes == sizeof(float);
  for (uint64_t c = 0; c < channels; ++c) to.Bytes(&multipliers[one ? 0 : c], sizeof(float));
  for (uint64_t c = 0; c < channels; ++c) {
    const int32_t bias = b ? static_cast<const int32_t*>(b->data)[c] : 0;
    to.Bytes(&bias, sizeof bias);
  }
}

void WriteLayer(const Node& n, uint32_t reads, Writer& to) {
  const bool conv = n.Is("slipway", "QConv"), pool = n.Is("acme", "GridMaxPool");
  to.U32(pool ? kGridMaxPool : conv ? kConv : kLinear);
  to.U32(reads);
  to.U32(n.output()->dtype);
  if (pool) {
    to.U32(static_cast<uint64_t>(n.Element("grid", 0, 1)));
    to.U32(static_cast<uint64_t>(n.Element("grid", 1, 1)));
    return;
  }
  const slipway_value* w = n.input(1);
  const auto* weights = static_cast<const int8_t*>(w->data);
  if (conv) {
    for (int i = 0; i < 4; ++i) to.U32(static_cast<uint64_t>(w->dims[i]));
    for (uint32_t i = 0; i < 2; ++i) to.U32(static_cast<uint64_t>(n.Element("strides", i, 1)));
    for (uint32_t i = 0; i < 4; ++i) to.U32(static_cast<uint64_t>(n.Element("pads", i, 0)));
    WriteRequantize(n, static_cast<uint64_t>(w->dims[0]), to);
    to.Bytes(weights, w->bytes);
    return;
  }
  const bool transposed = n.Int("transW", 0) != 0;  // [N, K] already
  const int64_t outputs = w->dims[transposed ? 0 : 1], inputs = w->dims[transposed ? 1 : 0];
  to.U32(static_cast<uint64_t>(outputs));
  to.U32(static_cast<uint64_t>(inputs));
  WriteRequantize(n, static_cast<uint64_t>(outputs), to);
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t k = 0; k < inputs; ++k)
      to.Bytes(&weights[transposed ? o * inputs + k : k * outputs + o], 1);
  }
}

// One program for the whole partition.
int Compile(void*, const slipway_graph* graph, const char* const*, const slipway_target*,
            const slipway_step_sink* sink, slipway_error* error) {
  try {
    std::vector<int32_t> inputs, outputs;  // values of the graph
    std::vector<uint32_t> nodes;
    std::map<int32_t, uint32_t> number;  // value of the graph -> of the program
    for (uint32_t i = 0; i < graph->num_nodes; ++i) {
      const int32_t x = graph->nodes[i].inputs[0];
      if (graph->values[x].producer < 0 &&
          number.emplace(x, static_cast<uint32_t>(inputs.size())).second)
        inputs.push_back(x);
    }
    for (uint32_t i = 0; i < graph->num_nodes; ++i) {
      const int32_t y = graph->nodes[i].outputs[0];
      number[y] = static_cast<uint32_t>(inputs.size()) + i;
      if (graph->values[y].read_outside) outputs.push_back(y);
      nodes.push_back(i);
    }
    if (inputs.size() > kMaxPorts || outputs.size() > kMaxPorts || nodes.size() > kMaxLayers)
      return Fail(error, SLIPWAY_UNSUPPORTED, "too large for one program of the NPU");
    Writer program;
    program.Bytes("ANPU", 4);
    program.U32(kVersion);
    program.U32(inputs.size());
    program.U32(outputs.size());
    program.U32(nodes.size());
    for (const int32_t y : outputs) program.U32(number.at(y));
    for (uint32_t i = 0; i < graph->num_nodes; ++i)
      WriteLayer({graph, &graph->nodes[i]}, number.at(graph->nodes[i].inputs[0]), program);
    slipway_compiled_step step{};
    step.struct_size = sizeof step;
    step.kernel = "npu:program";
    step.num_nodes = static_cast<uint32_t>(nodes.size());
    step.nodes = nodes.data();
    step.num_inputs = static_cast<uint32_t>(inputs.size());
    step.inputs = inputs.data();
    step.num_outputs = static_cast<uint32_t>(outputs.size());
    step.outputs = outputs.data();
    step.blob = program.bytes().data();
    step.blob_size = program.bytes().size();
    step.in_place = -1;
    return sink->add(sink->host, &step);
  } catch (const std::exception& e) {  // none may leave
    return Fail(error, SLIPWAY_RESOURCE_EXHAUSTED, e.what());
  }
}

constexpr slipway_compiler kCompiler = {sizeof(slipway_compiler),
                                        SLIPWAY_COMPILER_ABI_VERSION,
                                        "npu",
                                        "1.2",
                                        SLIPWAY_LEVEL_NETWORK,
                                        nullptr,
                                        nullptr,
                                        Supports,
                                        Candidates,
                                        Compile,
                                        nullptr};

}  // namespace
}  // namespace acme

extern "C" __attribute__((visibility("default"))) const slipway_compiler* slipway_compiler_main(
    uint32_t host) {
  return host == SLIPWAY_COMPILER_ABI_VERSION ? &acme::kCompiler : nullptr;
}
