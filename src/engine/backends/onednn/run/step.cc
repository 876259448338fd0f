#include "engine/backends/onednn/run/step.h"

#include <cstring>

#include "base/checked.h"
#include "engine/backends/onednn/run/openmp.h"

namespace slipway::backends::onednn {

using format::Layout;
using tag = dnnl::memory::format_tag;
using dt = dnnl::memory::data_type;

const dnnl::engine& Engine() {
  static const dnnl::engine* engine =
      new dnnl::engine(dnnl::engine::kind::cpu, 0);  // outlives every static
  return *engine;
}

Result<dt> ToDnnl(uint32_t dtype) {
  switch (static_cast<DType>(dtype)) {
    case DType::kFloat32:
      return dt::f32;
    case DType::kUInt8:
      return dt::u8;
    case DType::kInt8:
      return dt::s8;
    case DType::kInt32:
      return dt::s32;
    case DType::kBFloat16:
      return dt::bf16;
    default:
      break;
  }
  const DType t = dtype < 256 ? static_cast<DType>(dtype) : DType::kUndefined;
  return Unsupported(std::string("the onednn backend has no tensors of ") + DTypeName(t));
}

MemoryDesc PlainDesc(const dnnl::memory::dims& dims, dt type) {
  dnnl::memory::dims strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;)
    strides[i - 1] = strides[i] * std::max<int64_t>(dims[i], 1);
  return MemoryDesc(dims, type, strides);
}

dnnl::primitive_attr Attr() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

Status AppendActivation(const ops::Activation& activation, dnnl::post_ops& post_ops) {
  using dnnl::algorithm;
  using ops::ActivationKind;
  constexpr float kMax = std::numeric_limits<float>::max();
  const float a = activation.a, b = activation.b;
  auto add = [&](algorithm algo, float alpha, float beta) {
    post_ops.append_eltwise(1.0f, algo, alpha, beta);
  };
  switch (activation.kind) {
    case ActivationKind::kNone:
      return OkStatus();
    case ActivationKind::kRelu:
      add(algorithm::eltwise_relu, 0, 0);
      return OkStatus();
    case ActivationKind::kClip: {
      const float hi = std::min(b, kMax),
                  lo = std::min(std::max(a, -kMax), hi);  // hi wins when they cross
      if (lo == 0 && hi == kMax) {
        add(algorithm::eltwise_relu, 0, 0);
      } else {
        add(algorithm::eltwise_clip, lo, hi);
      }
      return OkStatus();
    }
    case ActivationKind::kLeakyRelu:
      add(algorithm::eltwise_relu, a, 0);
      return OkStatus();
    case ActivationKind::kSigmoid:
      add(algorithm::eltwise_logistic, 0, 0);
      return OkStatus();
    case ActivationKind::kHardSigmoid:
      add(algorithm::eltwise_linear, a, b);
      add(algorithm::eltwise_clip, 0, 1);
      return OkStatus();
    case ActivationKind::kHardSwish:
      add(algorithm::eltwise_hardswish, 0, 0);
      return OkStatus();
    case ActivationKind::kSwish:
      add(algorithm::eltwise_swish, a, 0);
      return OkStatus();
    case ActivationKind::kGelu:
      add(algorithm::eltwise_gelu_erf, 0, 0);
      return OkStatus();
    case ActivationKind::kGeluTanh:
      add(algorithm::eltwise_gelu_tanh, 0, 0);
      return OkStatus();
    case ActivationKind::kTanh:
      add(algorithm::eltwise_tanh, 0, 0);
      return OkStatus();
    case ActivationKind::kElu:
      add(algorithm::eltwise_elu, a, 0);
      return OkStatus();
  }
  return Unsupported("an activation that the onednn backend does not know");
}

// --- Builder ---

Status Builder::Need(size_t inputs, size_t outputs) const {
  if (step_.num_inputs < inputs || step_.num_outputs < outputs) {
    return InvalidArgument(op().op + " needs " + std::to_string(inputs) + " inputs and " +
                           std::to_string(outputs) + " outputs");
  }
  for (size_t i = 0; i < inputs; ++i) {
    if (!Has(i)) return InvalidArgument(op().op + " needs input " + std::to_string(i));
  }
  for (size_t i = 0; i < outputs; ++i) {
    if (step_.outputs[i].dtype == 0)
      return InvalidArgument(op().op + " needs output " + std::to_string(i));
  }
  return OkStatus();
}

Result<MemoryDesc> Builder::Desc(const slipway_tensor& t) const {
  SLIPWAY_ASSIGN_OR_RETURN(MemoryDesc desc, LayoutDesc(t));
  if (desc.get_size() > t.bytes)
    return InvalidArgument("a tensor of " + op().op + " is smaller than its shape says");
  return desc;
}

Result<MemoryDesc> Builder::LayoutDesc(const slipway_tensor& t) {
  SLIPWAY_ASSIGN_OR_RETURN(const dt type, ToDnnl(t.dtype));
  const dnnl::memory::dims dims = ToDnnlDims(ToDims(t));
  if (dims.empty()) return MemoryDesc({1}, type, tag::a);
  static constexpr tag kPlain[] = {tag::a, tag::ab, tag::abc, tag::abcd, tag::abcde};
  static constexpr tag kLast[] = {tag::acb, tag::acdb, tag::acdeb};
  static constexpr tag k8[] = {tag::aBc8b, tag::aBcd8b, tag::aBcde8b};
  static constexpr tag k16[] = {tag::aBc16b, tag::aBcd16b, tag::aBcde16b};
  const size_t rank = dims.size();
  const Layout layout = static_cast<Layout>(t.layout);
  if (layout == Layout::kPlain)
    return rank <= 5 ? MemoryDesc(dims, type, kPlain[rank - 1]) : PlainDesc(dims, type);
  if (rank < 3 || rank > 5) {
    return Unsupported(std::string("layout ") + format::LayoutName(layout) +
                       " of a tensor of rank " + std::to_string(rank));
  }
  switch (layout) {
    case Layout::kChannelsLast:
      return MemoryDesc(dims, type, kLast[rank - 3]);
    case Layout::kBlocked8:
      return MemoryDesc(dims, type, k8[rank - 3]);
    case Layout::kBlocked16:
      return MemoryDesc(dims, type, k16[rank - 3]);
    default:
      return Unsupported("layout " + std::to_string(t.layout) + " is of a newer version");
  }
}

Result<const void*> Builder::Constant(size_t i) const {
  if (!Has(i) || !input(i).is_constant || !input(i).data) {
    return InvalidArgument("input " + std::to_string(i) + " of " + op().op + " must be a constant");
  }
  return input(i).data;
}

dnnl::memory Builder::At(const MemoryDesc& desc, Place place) {
  dnnl::memory memory(desc, Engine(), DNNL_MEMORY_NONE);
  bound_.memories.push_back(memory);
  places_.push_back({memory.get(), place});
  return memory;
}

dnnl::memory Builder::Own(const MemoryDesc& desc) {
  dnnl::memory memory(desc, Engine());
  bound_.memories.push_back(memory);
  return memory;
}

Result<dnnl::memory> Builder::Weight(size_t i, const MemoryDesc& from, const MemoryDesc& to) {
  if (from.get_size() > input(i).bytes) {
    return InvalidArgument("input " + std::to_string(i) + " of " + op().op +
                           " is smaller than its shape says");
  }
  if (probe_) return dnnl::memory(to, Engine(), DNNL_MEMORY_NONE);
  const bool same = from == to;
  if (!input(i).is_constant || !input(i).data) {
    if (same) return At(from, InputAt(i));
    const uint64_t offset = Reserve(to.get_size());
    dnnl::memory source = At(from, InputAt(i)), packed = At(to, WorkspaceAt(offset));
    dnnl::reorder::primitive_desc pd(Engine(), from, Engine(), to, Attr());
    Add<dnnl::reorder>(pd, {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, packed}});
    return At(to, WorkspaceAt(offset));
  }
  if (same) {
    dnnl::memory memory(from, Engine(), input(i).data);
    bound_.memories.push_back(memory);
    return memory;
  }
  const std::lock_guard lock(program_.mutex);
  for (const PackedWeight& p : program_.packed) {
    if (p.input == i && p.from == from && p.to == to) {
      bound_.memories.push_back(p.memory);
      return p.memory;
    }
  }
  AlignedBuffer bytes = AlignedBuffer::Table(to.get_size());
  if (!bytes.data() && to.get_size() > 0) return ResourceExhausted("no memory for packed weights");
  dnnl::memory source(from, Engine(), input(i).data), packed(to, Engine(), bytes.data());
  dnnl::stream stream(Engine());
  dnnl::reorder(source, packed).execute(stream, source, packed);
  stream.wait();
  program_.packed.push_back({i, from, to, std::move(bytes), packed});
  bound_.memories.push_back(packed);
  return packed;
}

Status Builder::Activate(dnnl::post_ops& post_ops) {
  SLIPWAY_ASSIGN_OR_RETURN(const ops::Activation activation, ops::ParseActivation(attributes()));
  // oneDNN's logistic takes 0.6 ns an element, ours 0.25 with the pass over memory (Zen 4,
  // AVX-512). It keeps zero at zero, so the padding of blocked layouts may be treated like data.
  if (activation.kind == ops::ActivationKind::kSwish &&
      step_.outputs[0].dtype == static_cast<uint32_t>(DType::kFloat32) &&
      kernels::BestIsa() == kernels::Isa::kAvx512) {
    bound_.finish = kernels::GetEltwise(kernels::Isa::kAvx512)
                        .unary[static_cast<int>(kernels::UnaryKind::kSwish)];
    bound_.finish_a = activation.a;
    bound_.finish_count = static_cast<int64_t>(step_.outputs[0].bytes / sizeof(float));
    return OkStatus();
  }
  return AppendActivation(activation, post_ops);
}

void Builder::AddStage(dnnl::primitive primitive, const dnnl::primitive_desc_base& pd,
                       std::vector<Arg> args) {
  const MemoryDesc scratch = pd.scratchpad_desc();
  if (const size_t bytes = scratch.get_size(); bytes > 0) {
    dnnl::memory memory(scratch, Engine(), DNNL_MEMORY_NONE);
    bound_.memories.push_back(memory);
    scratch_.push_back({bound_.stages.size(), memory});
    scratch_bytes_ = std::max<uint64_t>(scratch_bytes_, bytes);
    args.push_back({DNNL_ARG_SCRATCHPAD, memory});
  }
  Stage stage;
  stage.primitive = std::move(primitive);
  for (const Arg& a : args) {
    stage.args.push_back({a.first, a.second.get()});
    for (const Pending& p : places_) {
      if (p.memory == a.second.get())
        stage.bindings.push_back({p.memory, p.place.from, p.place.index, p.place.offset});
    }
  }
  bound_.stages.push_back(std::move(stage));
}

uint64_t Builder::Reserve(uint64_t bytes) {
  const uint64_t at = reserved_;
  reserved_ = static_cast<uint64_t>(RoundUp(static_cast<int64_t>(reserved_ + bytes), 64));
  return at;
}

void Builder::Finish() {
  for (const auto& [stage, memory] : scratch_) {
    bound_.stages[stage].bindings.push_back({memory.get(), From::kWorkspace, 0, reserved_});
  }
  bound_.workspace = reserved_ + scratch_bytes_;
  bound_.num_inputs = step_.num_inputs;
  bound_.num_outputs = step_.num_outputs;
}

// --- running ---

namespace {

// The OpenMP team of this thread for one call.
class Team {
 public:
  explicit Team(int threads) : before_(omp_get_max_threads()) {
    if (threads != before_) omp_set_num_threads(threads);
    changed_ = threads != before_;
  }
  ~Team() {
    if (changed_) omp_set_num_threads(before_);
  }

 private:
  int before_;
  bool changed_;
};

}  // namespace

Status Bound::Run(const slipway_tensor* inputs, const slipway_tensor* outputs,
                  const slipway_execution& execution) {
  if (stages.empty()) return OkStatus();
  if (workspace > execution.workspace_bytes)
    return Internal("the workspace is smaller than prepare asked for");
  const Team team(threads);
  if (accumulate >= 0 && inputs[accumulate].data != outputs[0].data) {
    const char* from = static_cast<const char*>(inputs[accumulate].data);
    char* to = static_cast<char*>(outputs[0].data);
    TeamFor(threads, static_cast<int64_t>(accumulate_bytes), 1 << 17,
            [=](int64_t begin, int64_t end) {
              std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
            });
  }
  for (Stage& stage : stages) {
    for (const Binding& b : stage.bindings) {
      char* base = static_cast<char*>(b.from == From::kInput    ? inputs[b.index].data
                                      : b.from == From::kOutput ? outputs[b.index].data
                                                                : execution.workspace);
      if (dnnl_memory_set_data_handle_v2(b.memory, base + b.offset, nullptr) != dnnl_success) {
        return Internal("oneDNN refused a memory handle");
      }
    }
    const dnnl_status_t status =
        dnnl_primitive_execute(stage.primitive.get(), stream.get(),
                               static_cast<int>(stage.args.size()), stage.args.data());
    if (status != dnnl_success) {
      return Internal("oneDNN could not run the primitive (status " +
                      std::to_string(static_cast<int>(status)) + ")");
    }
  }
  if (finish) {
    float* y = static_cast<float*>(outputs[0].data);
    TeamFor(threads, finish_count, 16384, [=, this](int64_t begin, int64_t end) {
      finish(y + begin, y + begin, end - begin, finish_a, 0);
    });
  }
  return OkStatus();
}

}  // namespace slipway::backends::onednn
