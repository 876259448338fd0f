// RNN, GRU and LSTM in float32 with constant weights: see kernels/recurrent. Some steps at a time,
// the input's part of all gates is one product (kernels/gemm); then the steps follow each other.
// Directions and sequences are shared out to threads, which need not wait for each other; where
// there are too few of them, the units of a step are, if it is long enough.

#include "engine/kernels/recurrent/recurrent.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "engine/backends/x86/run/step.h"
#include "engine/kernels/gemm/gemm.h"

namespace slipway::backends::x86 {
namespace {

using kernels::CellActivation;
using kernels::CellFunction;
using kernels::GemmKernels;
using kernels::RecurrentKernels;

// Multiply-adds of a step that are worth waking other threads for, and of a thread's share: some 4
// and 2 microseconds.
constexpr int64_t kStepWork = int64_t{1} << 17, kShareWork = int64_t{1} << 16;
// Of the sums of all gates of the steps that are computed together.
constexpr int64_t kChunkBytes = 512 << 10;
// But rows of the product at least, if there are so many.
constexpr int64_t kChunkRows = 24;

// Sequences of a part, at least.
constexpr int64_t kPartRows = 4;

enum class Cell : uint8_t { kRnn, kGru, kLstm };

// Weights of one direction.
struct Weights {
  AlignedBuffer input;        // for the product, in the order of the sums
  AlignedBuffer hidden;       // by PackRecurrent
  AlignedBuffer hidden_last;  // of GRU's candidate, where the reset gate comes before the product
  AlignedBuffer bias;         // in the order of the sums
  AlignedBuffer apart;        // of GRU's candidate, where the reset gate comes behind the product
};
using BothWeights = std::array<Weights, 2>;

float* Floats(void* p) { return static_cast<float*>(p); }
const float* Floats(const AlignedBuffer& b) { return reinterpret_cast<const float*>(b.data()); }

struct Recurrent {
  Cell cell = Cell::kRnn;
  int64_t steps = 0, batch = 0, inputs = 0, hidden = 0;
  int directions = 1, gates = 1;
  bool batch_first = false, reverse_first = false, reset_behind = false;
  CellActivation functions[2][3];
  const RecurrentKernels* k = nullptr;
  const GemmKernels* gemm = nullptr;

  int64_t padded = 0, blocks = 0;  // units with padding
  int64_t width = 0;               // of a row of sums
  int64_t chunk = 1;               // steps
  bool has_lengths = false, has_hidden = false, has_cell = false;
  bool gives_y = false, gives_hidden = false, gives_cell = false;
  // Sequences are cut into parts; a direction of a part is a task of one thread, where there are
  // several.
  int64_t parts = 1, part_rows = 0;
  bool tasks = false;
  bool threads_in_step = false;
  int threads = 1;                // of a product over a chunk
  kernels::GemmPlan plans[2][2];  // of each direction: of a whole chunk, of the last one
  int64_t sums_bytes = 0, state_bytes = 0, buffer_bytes = 0, buffers = 1;
  std::shared_ptr<const BothWeights> weights;

  bool Backwards(int d) const { return d == 1 || reverse_first; }
  // Whether the rows of a product are the steps of one sequence.
  bool ByRow(int d) const { return batch_first || parts > 1 || (has_lengths && Backwards(d)); }
  int64_t X(int64_t t, int64_t b) const {
    return (batch_first ? b * steps + t : t * batch + b) * inputs;
  }
  int64_t Y(int64_t t, int64_t d, int64_t b) const {
    return (batch_first ? (b * steps + t) * directions + d : (t * directions + d) * batch + b) *
           hidden;
  }
  int64_t State(int64_t d, int64_t b) const {
    return (batch_first ? b * directions + d : d * batch + b) * hidden;
  }
  // Two hidden states, the cell's state, GRU's reset state, its candidate's sums.
  static constexpr int64_t kStates = 5;
  int64_t DirectionBytes() const {
    return sums_bytes + kStates * state_bytes + buffers * buffer_bytes;
  }
  Status Run(const RunContext& c) const;
  // Sequences [first, last) in one direction.
  void RunDirection(const RunContext& c, int d, int64_t first, int64_t last, uint8_t* memory) const;
};

// One direction of some sequences of one call, which are counted from the first of them.
struct Direction {
  const Recurrent& r;
  const RunContext& c;
  const int d;
  const int64_t first, rows;
  const Weights& w;
  const int32_t* lengths;
  float *sums, *hidden, *next, *cell, *reset, *apart;
  uint8_t* buffers;
  int64_t begin = 0, count = 0;  // steps of the chunk

  int64_t Length(int64_t b) const { return lengths ? lengths[first + b] : r.steps; }
  int64_t Time(int64_t s, int64_t b) const {
    return r.Backwards(d) ? std::max<int64_t>(Length(b) - 1 - s, 0) : s;
  }
  // The least time of the chunk.
  int64_t Least(int64_t b) const {
    return r.Backwards(d) ? std::max<int64_t>(Length(b) - begin - count, 0) : begin;
  }
  float* Row(int64_t s, int64_t b) const {
    const int64_t t = Time(s, b) - Least(b);
    return sums + (r.ByRow(d) ? b * count + t : t * rows + b) * r.width;
  }

  void Multiply(const kernels::GemmCall& call, const kernels::GemmPlan& plan) const {
    const int64_t parts = plan.parts(), workers = std::min<int64_t>(r.threads, parts);
    if (workers == 1) {
      for (int64_t i = 0; i < parts; ++i) r.gemm->run(call, plan.Part(i), plan.step, buffers);
      return;
    }
    std::atomic<int64_t> following{0};
    c.parallel.ParallelFor(workers, 1, [&](int64_t worker, int64_t end) {
      for (; worker < end; ++worker) {
        for (int64_t i; (i = following.fetch_add(1, std::memory_order_relaxed)) < parts;)
          r.gemm->run(call, plan.Part(i), plan.step, buffers + worker * r.buffer_bytes);
      }
    });
  }
  // The input's part, with all biases.
  void Inputs() const {
    kernels::GemmCall call{.w = w.input.data(),
                           .bias = w.bias.data(),
                           .y_stride = r.width,
                           .k = r.inputs,
                           .n = r.width};
    const kernels::GemmPlan& plan = r.plans[d][count == r.chunk ? 0 : 1];
    const bool by_row = r.ByRow(d);
    call.x_stride = by_row && !r.batch_first ? r.batch * r.inputs : r.inputs;
    call.m = by_row ? count : count * rows;
    for (int64_t b = 0; b < (by_row ? rows : 1); ++b) {
      call.x = c.in<float>(0) + r.X(Least(b), first + b);
      call.y = sums + b * count * r.width;
      Multiply(call, plan);
    }
  }

  // f(begin, end) on ranges of blocks that groups of a product begin.
  template <typename F>
  void Blocks(int gates, const F& f) const {
    if (!r.threads_in_step) return f(int64_t{0}, r.blocks);
    const int64_t group = kernels::RecurrentGroup(gates, r.blocks), whole = r.blocks / group;
    const int64_t items = whole + r.blocks % group;
    auto block = [&](int64_t i) { return i <= whole ? i * group : whole * group + i - whole; };
    const int64_t work = rows * group * gates * r.k->lanes * r.hidden;  // of an item
    const int64_t grain = std::max(CeilDiv(kShareWork, work), items / r.threads / 2);
    c.parallel.ParallelFor(items, grain, [&](int64_t i, int64_t end) { f(block(i), block(end)); });
  }
  // Adds the product of `x` with the weights of some gates to the step's sums.
  void Product(const float* x, const AlignedBuffer& weights, int gates, int slot,
               bool candidate_apart, int64_t s, int64_t block, int64_t end) const {
    kernels::RecurrentProduct p{.x = x,
                                .x_stride = r.padded,
                                .rows = rows,
                                .k = r.hidden,
                                .w = Floats(weights),
                                .gates = gates,
                                .blocks = r.blocks,
                                .sums = Row(s, 0),
                                .sums_stride = (r.ByRow(d) ? count : 1) * r.width,
                                .slots = r.gates,
                                .first = slot,
                                .apart = candidate_apart ? apart : nullptr,
                                .apart_stride = r.padded,
                                .apart_start = Floats(w.apart)};
    if (!lengths || !r.Backwards(d)) return r.k->product(p, block, end);
    p.rows = 1;
    for (int64_t b = 0; b < rows; ++b) {  // at times of their own
      p.x = x + b * r.padded;
      p.sums = Row(s, b);
      p.apart = candidate_apart ? apart + b * r.padded : nullptr;
      r.k->product(p, block, end);
    }
  }
  // The new states of blocks [block, end), and what of Y they are.
  void States(int64_t s, int64_t block, int64_t end) const {
    const int64_t at = block * r.k->lanes, some = end - block;
    const int64_t units = std::min(end * r.k->lanes, r.hidden) - at;
    const auto* f = r.functions[d];
    float* y = r.gives_y ? c.out<float>() : nullptr;
    for (int64_t b = 0; b < rows; ++b) {
      const int64_t state = b * r.padded + at;
      if (s >= Length(b)) {
        std::memcpy(next + state, hidden + state, static_cast<size_t>(some * r.k->lanes) * 4);
        continue;
      }
      float* row = Row(s, b) + at * r.gates;
      if (r.cell == Cell::kLstm) {
        r.k->lstm(row, cell + state, next + state, some, f);
      } else if (r.cell == Cell::kGru) {
        r.k->gru(row, r.reset_behind ? apart + state : nullptr, hidden + state, next + state, some,
                 f);
      } else {
        r.k->rnn(row, next + state, some, f);
      }
      if (y && units > 0)
        std::memcpy(y + r.Y(Time(s, b), d, first + b) + at, next + state,
                    static_cast<size_t>(units) * 4);
    }
  }

  void Step(int64_t s) {
    if (r.cell == Cell::kGru && !r.reset_behind) {
      Blocks(2, [&](int64_t block, int64_t end) {
        Product(hidden, w.hidden, 2, 0, false, s, block, end);
        const int64_t at = block * r.k->lanes;
        for (int64_t b = 0; b < rows; ++b)
          r.k->gru_reset(Row(s, b) + at * r.gates, hidden + b * r.padded + at,
                         reset + b * r.padded + at, end - block, r.functions[d]);
      });
      Blocks(1, [&](int64_t block, int64_t end) {
        Product(reset, w.hidden_last, 1, 2, false, s, block, end);
        States(s, block, end);
      });
    } else {
      Blocks(r.gates, [&](int64_t block, int64_t end) {
        Product(hidden, w.hidden, r.gates, 0, r.reset_behind, s, block, end);
        States(s, block, end);
      });
    }
    std::swap(hidden, next);
  }

  void Load(bool given, size_t input, float* to) const {
    std::memset(to, 0, static_cast<size_t>(r.state_bytes));
    for (int64_t b = 0; given && b < rows; ++b) {
      std::memcpy(to + b * r.padded, c.in<float>(input) + r.State(d, first + b),
                  static_cast<size_t>(r.hidden) * 4);
    }
  }
  void Save(size_t output, const float* from) const {
    for (int64_t b = 0; b < rows; ++b) {
      std::memcpy(c.out<float>(output) + r.State(d, first + b), from + b * r.padded,
                  static_cast<size_t>(r.hidden) * 4);
    }
  }
};

void Recurrent::RunDirection(const RunContext& c, int d, int64_t first, int64_t last,
                             uint8_t* memory) const {
  auto state = [&](int64_t i) { return Floats(memory + sums_bytes + i * state_bytes); };
  Direction run{*this,
                c,
                d,
                first,
                last - first,
                (*weights)[static_cast<size_t>(d)],
                has_lengths ? c.in<int32_t>(4) : nullptr,
                Floats(memory),
                state(0),
                state(1),
                state(2),
                state(3),
                state(4),
                memory + sums_bytes + kStates * state_bytes};
  run.Load(has_hidden, 5, run.hidden);
  if (cell == Cell::kLstm) run.Load(has_cell, 6, run.cell);
  for (int64_t s = 0; s < steps; s += chunk) {
    run.begin = s;
    run.count = std::min(chunk, steps - s);
    run.Inputs();
    for (int64_t i = s; i < s + run.count; ++i) run.Step(i);
  }
  if (gives_hidden) run.Save(1, run.hidden);
  if (gives_cell) run.Save(2, run.cell);
}

Status Recurrent::Run(const RunContext& c) const {
  if (has_lengths) {
    for (int64_t b = 0; b < batch; ++b) {
      const int32_t n = c.in<int32_t>(4)[b];
      if (n < 0 || n > steps) {
        return InvalidArgument("sequence_lens[" + std::to_string(b) + "] is " + std::to_string(n) +
                               ", outside [0, " + std::to_string(steps) + "]");
      }
    }
    if (gives_y) {
      std::memset(c.outputs[0].data, 0,
                  static_cast<size_t>(steps * directions * batch * hidden) * 4);
    }
  }
  auto* memory = static_cast<uint8_t*>(c.workspace);
  if (tasks) {
    c.parallel.ParallelFor(directions * parts, 1, [&](int64_t i, int64_t end) {
      for (; i < end; ++i) {
        const int64_t part = i / directions;
        RunDirection(c, static_cast<int>(i % directions), batch * part / parts,
                     batch * (part + 1) / parts, memory + i * DirectionBytes());
      }
    });
  } else {
    for (int d = 0; d < directions; ++d) RunDirection(c, d, 0, batch, memory);
  }
  return OkStatus();
}

// --- What a step says.

Result<CellActivation> ReadFunction(std::string_view name) {
  auto is = [&](std::string_view other) {
    return std::equal(name.begin(), name.end(), other.begin(), other.end(),
                      [](char x, char y) { return (x | 0x20) == (y | 0x20); });
  };
  if (is("Sigmoid")) return CellActivation{CellFunction::kSigmoid};
  if (is("Tanh")) return CellActivation{CellFunction::kTanh};
  if (is("Relu")) return CellActivation{CellFunction::kRelu};
  if (is("HardSigmoid")) return CellActivation{CellFunction::kHardSigmoid, 0.2f, 0.5f};
  return Unsupported("the activation '" + std::string(name) + "'");
}

Status ReadFunctions(const Builder& b, Recurrent& r) {
  const int each = r.cell == Cell::kRnn ? 1 : r.cell == Cell::kGru ? 2 : 3;
  const auto* found = b.attributes().Find("activations");
  const auto* names = found ? std::get_if<std::vector<std::string>>(found) : nullptr;
  if (names && names->empty()) names = nullptr;
  if (names && names->size() != static_cast<size_t>(each * r.directions))
    return InvalidArgument("activations must list " + std::to_string(each * r.directions));
  const auto alphas = b.attributes().Floats("activation_alpha"),
             betas = b.attributes().Floats("activation_beta");
  size_t alpha = 0, beta = 0;
  for (int i = 0; i < each * r.directions; ++i) {
    std::string_view name = r.cell != Cell::kRnn && i % each == 0 ? "Sigmoid" : "Tanh";
    if (names) name = (*names)[static_cast<size_t>(i)];
    CellActivation& f = r.functions[i / each][i % each];
    SLIPWAY_ASSIGN_OR_RETURN(f, ReadFunction(name));
    if (f.function != CellFunction::kHardSigmoid) continue;
    if (alpha < alphas.size()) f.a = alphas[alpha++];
    if (beta < betas.size()) f.b = betas[beta++];
  }
  return OkStatus();
}

// The order of the sums: block by block of units, in each its gates.
struct Order {
  const Recurrent& r;
  // f(position, gate, unit) for all units that are no padding.
  template <typename F>
  void Each(const F& f) const {
    for (int64_t unit = 0; unit < r.hidden; ++unit) {
      const int64_t lanes = r.k->lanes, at = unit / lanes * r.gates * lanes + unit % lanes;
      for (int gate = 0; gate < r.gates; ++gate) f(at + gate * lanes, gate, unit);
    }
  }
};

Result<AlignedBuffer> Zeros(int64_t elements) {
  AlignedBuffer buffer = AlignedBuffer::Table(static_cast<size_t>(elements) * 4);
  if (!buffer.data()) return ResourceExhausted("no memory for packed weights");
  std::memset(buffer.data(), 0, buffer.size());
  return buffer;
}

Result<Weights> PackDirection(const Recurrent& r, const float* w, const float* hidden,
                              const float* bias) {
  Weights out;
  AlignedBuffer ordered;
  SLIPWAY_ASSIGN_OR_RETURN(ordered, Zeros(r.width * r.inputs));
  SLIPWAY_ASSIGN_OR_RETURN(out.input, Zeros(r.gemm->packed_bytes(r.inputs, r.width) / 4));
  SLIPWAY_ASSIGN_OR_RETURN(out.bias, Zeros(r.width));
  SLIPWAY_ASSIGN_OR_RETURN(out.apart, Zeros(r.padded));
  auto* sums = Floats(out.bias.data());
  Order{r}.Each([&](int64_t at, int gate, int64_t unit) {
    const int64_t row = gate * r.hidden + unit;
    std::memcpy(ordered.data() + at * r.inputs * 4, w + row * r.inputs,
                static_cast<size_t>(r.inputs) * 4);
    if (!bias) return;
    sums[at] = bias[row];
    const float other = bias[r.gates * r.hidden + row];
    if (r.reset_behind && gate == 2) {
      Floats(out.apart.data())[unit] = other;
    } else {
      sums[at] += other;
    }
  });
  r.gemm->pack(ordered.data(), r.inputs, r.width, true, out.input.data(), 0,
               r.gemm->panels(r.width));
  static constexpr int kGates[] = {0, 1, 2, 3};
  const bool apart = r.cell == Cell::kGru && !r.reset_behind;
  const auto first = std::span(kGates).first(static_cast<size_t>(apart ? 2 : r.gates));
  const int64_t each = r.padded * r.hidden;
  SLIPWAY_ASSIGN_OR_RETURN(out.hidden, Zeros(each * static_cast<int64_t>(first.size())));
  kernels::PackRecurrent(hidden, r.hidden, r.hidden, first, r.k->lanes, Floats(out.hidden.data()));
  if (apart) {
    SLIPWAY_ASSIGN_OR_RETURN(out.hidden_last, Zeros(each));
    kernels::PackRecurrent(hidden, r.hidden, r.hidden, std::span(kGates).subspan(2, 1), r.k->lanes,
                           Floats(out.hidden_last.data()));
  }
  return out;
}

// Checks everything; a package may say what inference would not.
Status ReadStep(const Builder& b, Recurrent& r) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3, 0));
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  for (size_t i = 0; i < b.num_inputs(); ++i) {
    if (b.Has(i)) SLIPWAY_RETURN_IF_ERROR(b.NeedType(i, i == 4 ? DType::kInt32 : DType::kFloat32));
  }
  if (b.Has(7)) return Unsupported("peepholes");
  const ops::Attributes& a = b.attributes();
  if (a.Float("clip", 0) != 0 || a.Int("input_forget", 0) != 0)
    return Unsupported("clip or input_forget");
  const std::string_view direction = a.String("direction", "forward");
  r.cell = b.op() == "LSTM" ? Cell::kLstm : b.op() == "GRU" ? Cell::kGru : Cell::kRnn;
  r.gates = r.cell == Cell::kLstm ? 4 : r.cell == Cell::kGru ? 3 : 1;
  r.directions = direction == "bidirectional" ? 2 : 1;
  r.reverse_first = direction == "reverse";
  r.batch_first = a.Int("layout", 0) != 0;
  r.reset_behind = r.cell == Cell::kGru && a.Int("linear_before_reset", 0) != 0;
  const Dims x = b.in_dims(0), w = b.in_dims(1), u = b.in_dims(2);
  if (x.rank() != 3 || w.rank() != 3 || u.rank() != 3)
    return InvalidArgument("X, W and R must have three dimensions");
  r.steps = x[r.batch_first ? 1 : 0];
  r.batch = x[r.batch_first ? 0 : 1];
  r.inputs = x[2];
  r.hidden = u[2];
  if (x.count() == 0 || r.hidden == 0) return Unsupported("nothing to compute");
  const int64_t gates = r.directions * r.gates, states = r.directions * r.batch * r.hidden;
  const int64_t want[] = {x.count(),
                          gates * r.hidden * r.inputs,
                          gates * r.hidden * r.hidden,
                          2 * gates * r.hidden,
                          r.batch,
                          states,
                          states};
  for (size_t i = 0; i < b.num_inputs(); ++i) {
    if (b.Has(i) && (i >= std::size(want) || b.in_dims(i).count() != want[i])) {
      return InvalidArgument(b.op() + ": input " + std::to_string(i) + " " +
                             b.in_dims(i).ToString() + " does not fit the others");
    }
  }
  bool* gives[] = {&r.gives_y, &r.gives_hidden, &r.gives_cell};
  for (size_t i = 0; i < b.num_outputs(); ++i) {
    const slipway_tensor& t = b.output(i);
    if (t.dtype == 0) continue;
    if (i >= (r.cell == Cell::kLstm ? 3u : 2u) || b.out_type(i) != DType::kFloat32 ||
        b.out_dims(i).count() != (i == 0 ? r.steps : 1) * states)
      return InvalidArgument(b.op() + ": output " + std::to_string(i) + " does not fit the inputs");
    *gives[i] = true;
  }
  if (!b.ConstantData(1) || !b.ConstantData(2) || (b.Has(3) && !b.ConstantData(3)))
    return Unsupported("weights that are no constant");
  if (r.inputs > (1 << 24) || r.hidden > (1 << 24)) return ResourceExhausted("too many weights");
  r.has_lengths = b.Has(4);
  r.has_hidden = b.Has(5);
  r.has_cell = r.cell == Cell::kLstm && b.Has(6);
  return ReadFunctions(b, r);
}

// How it is cut for threads and caches.
void Plan(const Builder& b, Recurrent& r) {
  r.k = &kernels::GetRecurrent(b.isa());
  r.gemm = &kernels::GetGemm(b.isa());
  r.padded = RoundUp(r.hidden, r.k->lanes);
  r.blocks = r.padded / r.k->lanes;
  r.width = r.padded * r.gates;
  // Parts of as many sequences as a product has in registers; tasks where they keep all threads at
  // work, or where sharing out steps would not.
  const double rows = static_cast<double>(r.batch) * static_cast<double>(r.width);
  const bool threads = b.threads() > 1,
             long_step = rows * static_cast<double>(r.hidden) >= kStepWork;
  const bool worth =
      rows * static_cast<double>(r.steps) * static_cast<double>(r.hidden + r.inputs) >= kStepWork;
  const int64_t most = std::min(CeilDiv(r.batch, kPartRows), CeilDiv(b.threads(), r.directions));
  r.tasks = threads && worth && r.directions * most > 1 &&
            (r.directions * most >= b.threads() || !long_step);
  r.parts = r.tasks ? most : 1;
  r.part_rows = CeilDiv(r.batch, r.parts);
  r.threads_in_step = threads && long_step && !r.tasks;
  r.threads = r.tasks ? 1 : b.threads();
  r.chunk = std::clamp(
      std::max(kChunkBytes / 4 / (r.part_rows * r.width), CeilDiv(kChunkRows, r.part_rows)),
      int64_t{1}, r.steps);
  for (int d = 0; d < r.directions; ++d) {
    for (int last = 0; last < 2; ++last) {
      const int64_t some = last ? r.steps % r.chunk : r.chunk;
      if (some == 0) continue;
      kernels::GemmPlan& plan = r.plans[d][last];
      plan = kernels::PlanGemm(*r.gemm, r.ByRow(d) ? some : some * r.part_rows, r.inputs, r.width,
                               r.threads);
      r.buffer_bytes = std::max(r.buffer_bytes, plan.buffer_bytes);
      r.buffers = std::max(r.buffers, std::min<int64_t>(r.threads, plan.parts()));
    }
  }
  r.sums_bytes = RoundUp(r.chunk * r.part_rows * r.width * 4, 64);
  r.state_bytes = RoundUp(r.part_rows * r.padded * 4, 64);
}

}  // namespace

Status BuildRecurrent(Builder& b) {
  auto r = std::make_shared<Recurrent>();
  SLIPWAY_RETURN_IF_ERROR(ReadStep(b, *r));
  Plan(b, *r);
  SLIPWAY_ASSIGN_OR_RETURN(
      r->weights, b.Shared<BothWeights>([&]() -> Result<std::shared_ptr<const BothWeights>> {
        auto both = std::make_shared<BothWeights>();
        const int64_t units = r->gates * r->hidden;
        for (int d = 0; d < r->directions; ++d) {
          const auto* bias = static_cast<const float*>(b.ConstantData(3));
          SLIPWAY_ASSIGN_OR_RETURN(
              (*both)[static_cast<size_t>(d)],
              PackDirection(*r,
                            static_cast<const float*>(b.ConstantData(1)) + d * units * r->inputs,
                            static_cast<const float*>(b.ConstantData(2)) + d * units * r->hidden,
                            bias ? bias + d * 2 * units : nullptr));
        }
        return std::shared_ptr<const BothWeights>(std::move(both));
      }));
  b.Workspace(
      static_cast<uint64_t>(r->DirectionBytes() * (r->tasks ? r->directions * r->parts : 1)));
  b.Run([r = std::shared_ptr<const Recurrent>(std::move(r))](const RunContext& c) {
    return r->Run(c);
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
