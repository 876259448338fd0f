#include "engine/backends/cts/harness.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "base/aligned.h"
#include "base/cpu.h"
#include "base/float16.h"
#include "base/thread_pool.h"
#include "engine/kernels/layout/reorder.h"
#include "model/ir/infer.h"
#include "model/ir/schema.h"
#include "model/ir/verify.h"

namespace slipway::cts {
namespace {

using backends::Candidate;
using backends::StepSpec;
using backends::Target;
using format::Layout;

Target HostTarget() {
  Target t;
  t.arch = ThisCpu().arch;
  t.features = ThisCpu().features;
  return t;
}

constexpr size_t kGuard = 64;

// Memory with a guard zone behind it that nobody may write.
class Buffer {
 public:
  explicit Buffer(size_t bytes, uint8_t fill = 0xCD) : bytes_(bytes), memory_(bytes + kGuard) {
    std::memset(memory_.data(), fill, bytes);
    std::memset(memory_.data() + bytes, 0xA5, kGuard);
  }
  uint8_t* data() { return memory_.data(); }
  size_t bytes() const { return bytes_; }
  bool Intact() {
    return std::all_of(memory_.data() + bytes_, memory_.data() + bytes_ + kGuard,
                       [](uint8_t b) { return b == 0xA5; });
  }

 private:
  size_t bytes_;
  AlignedBuffer memory_;
};

Dims DimsAt(const ir::Value& v, int64_t n) {
  Dims dims;
  for (const Dim& d : *v.type().shape) {
    auto size = d.Evaluate([&](std::string_view) { return std::optional<int64_t>(n); });
    dims.push_back(size.ok() ? *size : -1);
  }
  return dims;
}

void FillRandom(const Case& c, DType t, int64_t count, uint8_t* to, Random& random) {
  for (int64_t i = 0; i < count; ++i) {
    switch (t) {
      case DType::kFloat32:
        reinterpret_cast<float*>(to)[i] = static_cast<float>(random.Real(c.low, c.high));
        break;
      case DType::kBFloat16:
        reinterpret_cast<BFloat16*>(to)[i] = BFloat16(random.Real(c.low, c.high));
        break;
      case DType::kFloat64:
        reinterpret_cast<double*>(to)[i] = random.Real(c.low, c.high);
        break;
      case DType::kBool:
        to[i] = static_cast<uint8_t>(random.Next() & 1);
        break;
      case DType::kInt32:
        reinterpret_cast<int32_t*>(to)[i] = static_cast<int32_t>(random.Int(c.int_low, c.int_high));
        break;
      case DType::kInt64:
        reinterpret_cast<int64_t*>(to)[i] = random.Int(c.int_low, c.int_high);
        break;
      default:
        for (int b = 0; b < DTypeBits(t) / 8; ++b)
          to[i * DTypeBits(t) / 8 + b] = static_cast<uint8_t>(random.Next());
    }
  }
}

// One tensor of a run: plain bytes of the truth, and the bytes that the backend sees.
struct Data {
  Dims dims;
  DType dtype = DType::kUndefined;
  Layout layout = Layout::kPlain;
  std::unique_ptr<Buffer> plain, seen;
  bool constant = false;

  slipway_tensor Describe(bool with_data) {
    slipway_tensor t{};
    if (dtype == DType::kUndefined) return t;
    t.dtype = static_cast<uint32_t>(dtype);
    t.layout = static_cast<uint32_t>(layout);
    t.rank = dims.rank();
    for (size_t i = 0; i < dims.size(); ++i) t.dims[i] = dims[i];
    t.is_constant = constant;
    t.bytes = seen->bytes();
    t.data = with_data || constant ? seen->data() : nullptr;
    return t;
  }
};

ops::TensorView View(Data& d) {
  if (d.dtype == DType::kUndefined) return {};
  return {d.dtype, d.dims, d.plain->data()};
}

struct Tensors {
  std::vector<Data> inputs, outputs;
  std::vector<slipway_tensor> in, out;

  void Describe(bool with_data) {
    in.clear();
    out.clear();
    for (Data& d : inputs) in.push_back(d.Describe(with_data));
    for (Data& d : outputs) out.push_back(d.Describe(with_data));
  }
};

Result<Data> MakeData(const Case& c, const ir::Value* v, Layout layout, int64_t n, bool is_output,
                      Random& random) {
  Data d;
  if (!v) return d;
  d.dims = DimsAt(*v, n);
  d.dtype = v->dtype();
  d.constant = v->is_constant();
  d.layout = d.constant ? Layout::kPlain : layout;
  const auto plain = format::LayoutBytes(d.dtype, d.dims, Layout::kPlain),
             seen = format::LayoutBytes(d.dtype, d.dims, d.layout);
  if (!plain || !seen)
    return Internal("value '" + v->name() + "' of shape " + d.dims.ToString() + " in layout " +
                    format::LayoutName(d.layout));
  d.plain = std::make_unique<Buffer>(static_cast<size_t>(*plain));
  d.seen = std::make_unique<Buffer>(static_cast<size_t>(*seen));
  if (is_output) return d;
  if (d.constant) {
    const auto bytes = v->constant()->bytes();  // perhaps none
    if (!bytes.empty()) std::memcpy(d.plain->data(), bytes.data(), bytes.size());
  } else {
    FillRandom(c, d.dtype, d.dims.count(), d.plain->data(), random);
  }
  kernels::Reorder(d.dtype, d.dims, Layout::kPlain, d.plain->data(), d.layout, d.seen->data(),
                   nullptr);
  return d;
}

Result<Tensors> MakeTensors(const Case& c, const StepSpec& spec, const Candidate& candidate,
                            int64_t n, Random& random) {
  Tensors t;
  for (size_t i = 0; i < spec.inputs.size(); ++i) {
    const Layout layout = i < candidate.inputs.size() ? candidate.inputs[i] : Layout::kPlain;
    SLIPWAY_ASSIGN_OR_RETURN(Data d, MakeData(c, spec.inputs[i], layout, n, false, random));
    t.inputs.push_back(std::move(d));
  }
  for (const ir::Tensor& p : spec.packed) {
    Data d;
    d.dims = p.dims();
    d.dtype = p.dtype();
    d.constant = true;
    d.seen = std::make_unique<Buffer>(p.bytes().size());
    std::memcpy(d.seen->data(), p.bytes().data(), p.bytes().size());
    t.inputs.push_back(std::move(d));
  }
  for (size_t i = 0; i < spec.outputs.size(); ++i) {
    const Layout layout = i < candidate.outputs.size() ? candidate.outputs[i] : Layout::kPlain;
    SLIPWAY_ASSIGN_OR_RETURN(Data d, MakeData(c, spec.outputs[i], layout, n, true, random));
    t.outputs.push_back(std::move(d));
  }
  return t;
}

Status RunTruth(const ir::Node& node, const StepSpec& spec, Tensors& t) {
  std::vector<ops::TensorView> in, out;
  for (const ir::Value* v : node.inputs()) {
    // Constants that the step has in another form are taken from the node.
    const auto at = std::find(spec.inputs.begin(), spec.inputs.end(), v);
    if (at != spec.inputs.end())
      in.push_back(View(t.inputs[static_cast<size_t>(at - spec.inputs.begin())]));
    else
      in.push_back(v && v->constant() ? v->constant()->view() : ops::TensorView{});
  }
  for (Data& d : t.outputs) out.push_back(View(d));
  ops::OpContext context;
  context.inputs = in;
  context.outputs = out;
  context.attributes = &node.attributes;
  return node.schema()->kernel(context).With("model/ops");
}

Status Compare(const Case& c, const Backend& backend, Data& d, const uint8_t* got, Tally& tally) {
  const int64_t count = d.dims.count();
  const uint8_t* want = d.plain->data();
  auto describe = [&](int64_t i, double a, double b) {
    char text[128];
    std::snprintf(text, sizeof text, "element %lld of %lld is %.9g, expected %.9g",
                  static_cast<long long>(i), static_cast<long long>(count), a, b);
    return Internal(text);
  };
  if (d.dtype == DType::kFloat32) {
    const float *g = reinterpret_cast<const float*>(got), *w = reinterpret_cast<const float*>(want);
    double largest = 1;
    for (int64_t i = 0; i < count; ++i) {
      if (std::isfinite(w[i])) largest = std::max(largest, std::fabs(static_cast<double>(w[i])));
    }
    for (int64_t i = 0; i < count; ++i) {
      if (w[i] == g[i] || (std::isnan(w[i]) && std::isnan(g[i]))) continue;
      if (!(std::fabs(static_cast<double>(g[i]) - w[i]) <= c.tolerance * largest))
        return describe(i, g[i], w[i]);
    }
    return OkStatus();
  }
  if (d.dtype == DType::kBFloat16) {  // sums that differ a little may round to neighbours
    const auto *g = reinterpret_cast<const BFloat16*>(got),
               *w = reinterpret_cast<const BFloat16*>(want);
    double largest = 1;
    for (int64_t i = 0; i < count; ++i) {
      const double v = std::fabs(static_cast<double>(static_cast<float>(w[i])));
      if (std::isfinite(v)) largest = std::max(largest, v);
    }
    for (int64_t i = 0; i < count; ++i) {
      const double x = static_cast<float>(g[i]), y = static_cast<float>(w[i]);
      if (x == y || (std::isnan(x) && std::isnan(y))) continue;
      if (!(std::fabs(x - y) <= c.tolerance * largest + std::fabs(y) / 128))
        return describe(i, x, y);
    }
    return OkStatus();
  }
  const bool code = d.dtype == DType::kUInt8 || d.dtype == DType::kInt8;
  if (code) tally.codes += count;
  const size_t size = static_cast<size_t>(DTypeBits(d.dtype)) / 8;
  for (int64_t i = 0; i < count; ++i) {
    const size_t at = static_cast<size_t>(i) * size;
    if (std::memcmp(got + at, want + at, size) == 0) continue;
    const int a = d.dtype == DType::kInt8 ? static_cast<int8_t>(got[at]) : got[at];
    const int b = d.dtype == DType::kInt8 ? static_cast<int8_t>(want[at]) : want[at];
    if (code && (c.ties || !backend.exact_integers) && std::abs(a - b) == 1) {
      ++tally.codes_off;
      continue;
    }
    return describe(i, a, b);
  }
  return OkStatus();
}

Status FromError(int code, const slipway_error& error) {
  if (code == 0) return OkStatus();
  return {static_cast<StatusCode>(code), error.message};
}

// Owns what the run side makes of a step.
class Step {
 public:
  Step(const slipway_backend& backend, const std::string& name, std::vector<uint8_t> blob)
      : backend_(backend), name_(name), blob_(std::move(blob)) {}
  ~Step() {
    Release();
    if (program_) backend_.unload(backend_.context, program_);
  }
  Status Load(const Tensors& t) {
    // The blob is copied to memory of its exact size so that reading beyond it shows under a
    // sanitizer.
    auto step = Describe(t);
    for (slipway_tensor& x : in_) x.data = x.is_constant ? x.data : nullptr;
    slipway_error error{};
    return FromError(backend_.load(backend_.context, &step, &program_, &error), error);
  }
  Status Prepare(const Tensors& t, int threads) {
    Release();
    auto step = Describe(t);
    slipway_requirements requirements{sizeof(slipway_requirements), threads, 0};
    slipway_error error{};
    SLIPWAY_RETURN_IF_ERROR(FromError(
        backend_.prepare(backend_.context, program_, &step, &requirements, &bound_, &error),
        error));
    workspace_ = std::make_unique<Buffer>(requirements.workspace_bytes);
    return OkStatus();
  }
  Status Run(Tensors& t, ThreadPool& pool) {
    slipway_execution e{};
    e.struct_size = sizeof e;
    e.threads = pool.threads();
    e.pool = &pool;
    e.parallel_for = [](void* p, int64_t count, int64_t grain,
                        void (*body)(void*, int64_t, int64_t), void* context) {
      static_cast<ThreadPool*>(p)->Run(count, grain, body, context);
    };
    e.workspace = workspace_->bytes() ? workspace_->data() : nullptr;
    e.workspace_bytes = workspace_->bytes();
    slipway_error error{};
    SLIPWAY_RETURN_IF_ERROR(FromError(
        backend_.run(backend_.context, bound_, t.in.data(), t.out.data(), &e, &error), error));
    if (backend_.sync)
      SLIPWAY_RETURN_IF_ERROR(FromError(backend_.sync(backend_.context, &error), error));
    if (!workspace_->Intact()) return Internal("it wrote beyond its workspace");
    for (Data& d : t.outputs) {
      if (d.seen && !d.seen->Intact()) return Internal("it wrote beyond its output");
    }
    return OkStatus();
  }
  void Release() {
    if (bound_) backend_.release(backend_.context, bound_);
    bound_ = nullptr;
  }

 private:
  slipway_step Describe(const Tensors& t) {
    in_ = t.in;
    out_ = t.out;
    slipway_step step{};
    step.struct_size = sizeof step;
    step.name = name_.c_str();
    step.blob = blob_.data();
    step.blob_size = blob_.size();
    step.num_inputs = static_cast<uint32_t>(in_.size());
    step.num_outputs = static_cast<uint32_t>(out_.size());
    step.inputs = in_.data();
    step.outputs = out_.data();
    return step;
  }

  const slipway_backend& backend_;
  std::string name_;
  std::vector<uint8_t> blob_;
  std::vector<slipway_tensor> in_, out_;
  void* program_ = nullptr;
  void* bound_ = nullptr;
  std::unique_ptr<Buffer> workspace_;
};

ThreadPool& Pool(int threads) {
  static ThreadPool one({.threads = 1}), two({.threads = 2});
  return threads == 1 ? one : two;
}

void Hide(Tensors& t,
          const StepSpec& spec) {  // what load sees: -1 for sizes that are not known yet
  auto hide = [](slipway_tensor& x, const ir::Value* v) {
    if (!v || !v->type().shape) return;
    for (size_t i = 0; i < v->type().shape->size(); ++i) {
      if (!(*v->type().shape)[i].known()) x.dims[i] = -1, x.bytes = 0;
    }
  };
  for (size_t i = 0; i < spec.inputs.size(); ++i) hide(t.in[i], spec.inputs[i]);
  for (size_t i = 0; i < spec.outputs.size(); ++i) hide(t.out[i], spec.outputs[i]);
}

Status CompareAll(const Case& c, const Backend& backend, Tensors& t, Tally& tally) {
  for (size_t i = 0; i < t.outputs.size(); ++i) {
    Data& d = t.outputs[i];
    if (!d.seen) continue;
    Buffer plain(d.plain->bytes());
    kernels::Reorder(d.dtype, d.dims, d.layout, d.seen->data(), Layout::kPlain, plain.data(),
                     nullptr);
    SLIPWAY_RETURN_IF_ERROR(Compare(c, backend, d, plain.data(), tally)
                                .With("output " + std::to_string(i) + " " + d.dims.ToString()));
  }
  return OkStatus();
}

Status CheckCandidate(const Case& c, const Backend& backend, const ir::Node& node,
                      const backends::CompileBackend& compiler, const Candidate& candidate,
                      Random& random, Tally& tally) {
  const backends::PartitionNode partition{&node, &candidate};
  SLIPWAY_ASSIGN_OR_RETURN(std::vector<StepSpec> specs,
                           compiler.Compile({&partition, 1}, HostTarget()));
  if (specs.size() != 1)
    return Internal("Compile answered with " + std::to_string(specs.size()) +
                    " steps for one node");
  const StepSpec& spec = specs[0];
  Step step(*backend.run, node.name(), spec.blob);
  bool loaded = false;
  Tensors first;  // its constants must outlive the program
  for (const auto& [n, threads] : {std::pair<int64_t, int>{1, 1}, {3, 2}, {1, 2}}) {
    SLIPWAY_ASSIGN_OR_RETURN(Tensors t, MakeTensors(c, spec, candidate, n, random));
    SLIPWAY_RETURN_IF_ERROR(RunTruth(node, spec, t));
    t.Describe(false);
    if (!loaded) {
      Hide(t, spec);
      SLIPWAY_RETURN_IF_ERROR(step.Load(t).With("load"));
      loaded = true;
      t.Describe(false);
    }
    SLIPWAY_RETURN_IF_ERROR(step.Prepare(t, threads).With("prepare"));
    t.Describe(true);
    for (int round = 0; round < 2; ++round) {
      SLIPWAY_RETURN_IF_ERROR(step.Run(t, Pool(threads)).With("run"));
      SLIPWAY_RETURN_IF_ERROR(
          CompareAll(c, backend, t, tally)
              .With("batch " + std::to_string(n) + ", " + std::to_string(threads) + " threads"));
      ++tally.runs;
    }
    const int in_place = spec.in_place;
    if (in_place >= 0) {
      Data &x = t.inputs[static_cast<size_t>(in_place)], &y = t.outputs[0];
      if (!x.constant && x.layout == y.layout && x.seen->bytes() == y.seen->bytes()) {
        std::memcpy(y.seen->data(), x.seen->data(), x.seen->bytes());
        t.Describe(true);
        t.in[static_cast<size_t>(in_place)].data = y.seen->data();
        SLIPWAY_RETURN_IF_ERROR(step.Run(t, Pool(threads)).With("run in place"));
        SLIPWAY_RETURN_IF_ERROR(
            CompareAll(c, backend, t, tally).With("in place, batch " + std::to_string(n)));
      }
    }
    if (first.inputs.empty()) first = std::move(t);
  }
  return OkStatus();
}

// For crashes: what the next step is.
void Trace(const std::vector<uint8_t>& blob, const Tensors& t) {
  const auto op = format::DecodeOp(blob);
  std::string s = op.ok() ? op->domain + "." + op->op + " {" : "undecodable {";
  for (const auto& [name, value] :
       op.ok() ? op->attributes.entries() : std::vector<ops::Attributes::Entry>{}) {
    s += name + "=";
    if (auto* i = std::get_if<int64_t>(&value)) s += std::to_string(*i);
    if (auto* f = std::get_if<float>(&value)) s += std::to_string(*f);
    if (auto* text = std::get_if<std::string>(&value)) s += *text;
    if (auto* list = std::get_if<std::vector<int64_t>>(&value)) {
      for (int64_t i : *list) s += std::to_string(i) + ",";
    }
    s += " ";
  }
  s += "}";
  auto add = [&](const slipway_tensor& x) {
    s += std::string(" ") + DTypeName(static_cast<DType>(x.dtype)) +
         Dims(std::span(x.dims, static_cast<size_t>(x.rank))).ToString() +
         format::LayoutName(static_cast<Layout>(x.layout));
  };
  for (const auto& x : t.in) add(x);
  s += " ->";
  for (const auto& x : t.out) add(x);
  std::fprintf(stderr, "%s\n", s.c_str());
}

const ir::Node& OnlyNode(const Case& c) { return *c.graph->nodes().front(); }

std::string Explain(const Case& c, const Candidate* candidate) {
  const ir::Node& node = OnlyNode(c);
  std::string s = node.FullOp() + "(";
  for (const ir::Value* v : node.inputs())
    s += (v ? v->type().ToString() + (v->is_constant() ? " const" : "") : "_") + std::string(", ");
  s += ") {";
  for (const auto& [name, value] : node.attributes.entries()) {
    s += name + "=";
    if (auto* i = std::get_if<int64_t>(&value)) s += std::to_string(*i);
    if (auto* f = std::get_if<float>(&value)) s += std::to_string(*f);
    if (auto* t = std::get_if<std::string>(&value)) s += *t;
    if (auto* v = std::get_if<std::vector<int64_t>>(&value)) {
      for (int64_t i : *v) s += std::to_string(i) + ",";
    }
    s += " ";
  }
  s += "}";
  if (candidate) s += " by " + candidate->kernel;
  return s;
}

Status Complete(const Case& c) {
  if (c.graph->nodes().size() != 1) return Internal("a case must have one node");
  return InferShapes(*c.graph).With("inference");
}

}  // namespace

std::string Describe(const Case& c) {
  const Status known = Complete(c);
  return known.ok() ? Explain(c, nullptr) : known.message();
}

Status Check(const Case& c, const Backend& backend, Random& random, Tally& tally) {
  SLIPWAY_RETURN_IF_ERROR(Complete(c));
  const ir::Node& node = OnlyNode(c);
  ++tally.cases;
  const auto compiler = backend.compiler();
  const Status supported = compiler->Supports(node, HostTarget());
  if (!supported.ok()) {
    ++tally.declined;
    if (supported.code() != StatusCode::kUnsupported)
      return supported.With("Supports must say Unsupported");
    if (supported.message().empty())
      return Internal("Supports gives no reason for " + Explain(c, nullptr));
    if (std::find(tally.reasons.begin(), tally.reasons.end(), supported.message()) ==
            tally.reasons.end() &&
        tally.reasons.size() < 8) {
      tally.reasons.push_back(supported.message());
    }
    return OkStatus();
  }
  const auto candidates = compiler->Candidates(node, HostTarget());
  if (candidates.empty())
    return Internal("a supported node without candidates: " + Explain(c, nullptr));
  for (const Candidate& candidate : candidates) {
    ++tally.candidates;
    ++tally.kernels[candidate.kernel];
    SLIPWAY_RETURN_IF_ERROR(CheckCandidate(c, backend, node, *compiler, candidate, random, tally)
                                .With(Explain(c, &candidate)));
  }
  return OkStatus();
}

Result<std::vector<Timing>> Measure(const Case& c, double seconds) {
  SLIPWAY_RETURN_IF_ERROR(Complete(c));
  const ir::Node& node = OnlyNode(c);
  Random random(1);
  auto now = [] {  // other processes do not count
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  };
  std::vector<Timing> all;
  for (const Backend& backend : Backends()) {
    const auto compiler = backend.compiler();
    if (!compiler->Supports(node, HostTarget()).ok()) continue;
    for (const Candidate& candidate : compiler->Candidates(node, HostTarget())) {
      const backends::PartitionNode partition{&node, &candidate};
      SLIPWAY_ASSIGN_OR_RETURN(std::vector<StepSpec> specs,
                               compiler->Compile({&partition, 1}, HostTarget()));
      SLIPWAY_ASSIGN_OR_RETURN(Tensors t, MakeTensors(c, specs[0], candidate, 1, random));
      Step step(*backend.run, node.name(), specs[0].blob);
      t.Describe(false);
      SLIPWAY_RETURN_IF_ERROR(step.Load(t));
      SLIPWAY_RETURN_IF_ERROR(step.Prepare(t, 1));
      t.Describe(true);
      double best = 1e9;
      const double begin = now();
      for (int i = 0; i < 3 || now() - begin < seconds; ++i) {
        const double start = now();
        SLIPWAY_RETURN_IF_ERROR(step.Run(t, Pool(1)));
        best = std::min(best, now() - start);
      }
      all.push_back({backend.name, candidate.kernel, best * 1e6});
    }
  }
  return all;
}

Status CheckMalformed(const Case& c, const Backend& backend, Random& random) {
  SLIPWAY_RETURN_IF_ERROR(Complete(c));
  const ir::Node& node = OnlyNode(c);
  const auto compiler = backend.compiler();
  if (!compiler->Supports(node, HostTarget()).ok()) return OkStatus();
  const auto candidates = compiler->Candidates(node, HostTarget());
  const Candidate& candidate =
      candidates[static_cast<size_t>(random.Int(0, static_cast<int64_t>(candidates.size()) - 1))];
  const backends::PartitionNode partition{&node, &candidate};
  SLIPWAY_ASSIGN_OR_RETURN(std::vector<StepSpec> specs,
                           compiler->Compile({&partition, 1}, HostTarget()));
  const StepSpec& spec = specs[0];
  // Runs a step to the end if nobody objects.
  auto attempt = [&](std::vector<uint8_t> blob, Tensors& t) -> Status {
    t.Describe(false);
    if (std::getenv("SLIPWAY_CTS_TRACE")) Trace(blob, t);
    Step step(*backend.run, node.name(), std::move(blob));
    if (!step.Load(t).ok() || !step.Prepare(t, 1).ok()) return OkStatus();
    t.Describe(true);
    Status s = step.Run(t, Pool(1));
    return s.code() == StatusCode::kInternal ? s : OkStatus();
  };
  for (int round = 0; round < 12; ++round) {
    SLIPWAY_ASSIGN_OR_RETURN(Tensors t, MakeTensors(c, spec, candidate, 1, random));
    std::vector<uint8_t> blob = spec.blob;
    if (round < 2) {
      blob.resize(static_cast<size_t>(random.Int(0, static_cast<int64_t>(blob.size()) - 1)));
    } else if (round < 6 || !backend.checks_shapes) {
      for (int i = 0; i < 3; ++i)
        blob[static_cast<size_t>(random.Int(0, static_cast<int64_t>(blob.size()) - 1))] ^=
            static_cast<uint8_t>(1u << random.Int(0, 7));
      if (!backend.checks_shapes) {  // attributes that still decode could mean anything
        Step step(*backend.run, node.name(), blob);
        t.Describe(false);
        (void)step.Load(t);
        continue;
      }
    } else {
      // One tensor of another extent, type or rank than the operator allows.
      std::vector<Data*> all;
      for (Data& d : t.inputs) all.push_back(&d);
      for (Data& d : t.outputs) all.push_back(&d);
      Data& d = *all[static_cast<size_t>(random.Int(0, static_cast<int64_t>(all.size()) - 1))];
      if (!d.seen) continue;
      if (round % 3 == 0 && d.dims.rank() > 0) {
        d.dims[static_cast<size_t>(random.Int(0, d.dims.rank() - 1))] = random.Int(0, 9);
      } else if (round % 3 == 1) {
        d.dtype = random.Pick(
            {DType::kFloat32, DType::kUInt8, DType::kInt64, DType::kInt8, DType::kBool});
      } else {
        d.dims = d.dims.rank() > 3 ? Dims{2, 3} : Dims{3, 2, 4, 2};
        d.layout = Layout::kPlain;
      }
      const auto bytes = format::LayoutBytes(d.dtype, d.dims, d.layout);
      if (!bytes) continue;
      d.seen = std::make_unique<Buffer>(static_cast<size_t>(*bytes), uint8_t{0});
    }
    SLIPWAY_RETURN_IF_ERROR(attempt(blob, t).With("malformed round " + std::to_string(round) +
                                                  " of " + Explain(c, &candidate)));
  }
  return OkStatus();
}

}  // namespace slipway::cts
