#pragma once
// Packages by hand, for tests and fuzzing: tensors and steps in the order of the calls.

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/format/codes.h"
#include "engine/format/op_desc.h"
#include "engine/format/package.h"
#include "engine/format/plan.h"
#include "engine/format/sequence.h"

namespace slipway::format {

class PackageMaker {
 public:
  PackageData data;

  PackageMaker() {
    data.name = "test";
    data.provenance = {{"platform", "reference"}, {"tool_version", "test"}};
  }

  static Dim Sym(const char* name) { return Dim::Symbol(name); }

  int Input(const std::string& name, DType dtype, SymShape shape) {
    data.inputs.push_back(Add(name, dtype, std::move(shape), TensorKind::kInput));
    return data.inputs.back();
  }
  int Output(const std::string& name, DType dtype, SymShape shape, int alias = -1) {
    data.outputs.push_back(Add(name, dtype, std::move(shape), TensorKind::kOutput, alias));
    return data.outputs.back();
  }
  int Arena(const std::string& name, DType dtype, SymShape shape, int alias = -1, Layout layout = Layout::kPlain) {
    return Add(name, dtype, std::move(shape), TensorKind::kArena, alias, layout);
  }
  template <typename T>
  int Constant(const std::string& name, SymShape shape, const std::vector<T>& values) {
    int index = Add(name, DTypeOf<T>::value, std::move(shape), TensorKind::kConstant);
    auto bytes = std::make_shared<std::vector<uint8_t>>(values.size() * sizeof(T));
    if (!values.empty()) std::memcpy(bytes->data(), values.data(), bytes->size());
    data.tensors.back().data = *bytes;
    data.owners.push_back(bytes);
    return index;
  }
  // Floats that are stored as codes of 8 or 4 bits, rows of as many as there are for each scale.
  int Coded(const std::string& name, SymShape shape, const std::vector<float>& scales, const std::vector<int8_t>& codes, int bits) {
    auto coded = std::make_shared<std::vector<uint8_t>>(EncodeRows(scales, codes, bits));
    std::vector<float> values(codes.size());
    DecodeRows(*coded, scales.size(), codes.size(), bits, values.data());
    int index = Constant<float>(name, std::move(shape), values);
    PackageTensor& t = data.tensors.back();
    t.code_bits = bits;
    t.code_rows = scales.size();
    t.coded = *coded;
    data.owners.push_back(coded);
    return index;
  }
  PackageStep& Step(const std::string& name, const std::string& domain, const std::string& op, std::vector<int> inputs,
                    std::vector<int> outputs, ops::Attributes attributes = {}, const std::string& backend = "reference") {
    PackageStep step;
    step.backend = Backend(backend);
    step.name = name;
    step.op = domain.empty() ? op : domain + "." + op;
    step.kernel = "plain";
    step.blob = EncodeOp({domain, op, std::move(attributes)});
    step.inputs = std::move(inputs);
    step.outputs = std::move(outputs);
    step.sources = {name};
    data.steps.push_back(std::move(step));
    return data.steps.back();
  }
  int Backend(const std::string& name) {
    for (size_t i = 0; i < data.backends.size(); ++i) {
      if (data.backends[i].name == name) return static_cast<int>(i);
    }
    data.backends.push_back({name, 1, "1"});
    return static_cast<int>(data.backends.size() - 1);
  }
  // Makes `body` a program, for Control.
  int Body(const std::string& name, PackageMaker body) {
    body.data.name = name;
    data.programs.push_back(std::move(body.data));
    return static_cast<int>(data.programs.size() - 1);
  }
  PackageStep& Control(const std::string& name, PackageControl control, std::vector<int> inputs, std::vector<int> outputs) {
    constexpr const char* kOps[] = {"If", "Loop", "Scan"};
    PackageStep step;
    step.backend = -1;
    step.name = name;
    step.op = step.kernel = kOps[static_cast<int>(control.kind)];
    step.inputs = std::move(inputs);
    step.outputs = std::move(outputs);
    step.sources = {name};
    step.control = std::move(control);
    data.steps.push_back(std::move(step));
    return data.steps.back();
  }
  // What holds tensors: an input, an output or neither.
  int Holder(const std::string& name, DType dtype, Container container, TensorKind kind = TensorKind::kArena) {
    const int t = Add(name, dtype, {}, kind);
    data.tensors.back().container = container;
    if (kind == TensorKind::kInput) data.inputs.push_back(t);
    if (kind == TensorKind::kOutput) data.outputs.push_back(t);
    return t;
  }
  PackageStep& Sequence(const std::string& name, PackageSequence sequence, std::vector<int> inputs, int output) {
    PackageStep step;
    step.backend = -1;
    step.name = name;
    step.op = step.kernel = "Sequence";
    step.inputs = std::move(inputs);
    step.outputs = {output};
    step.sources = {name};
    step.sequence = sequence;
    data.steps.push_back(std::move(step));
    return data.steps.back();
  }
  // Static shapes: offsets and the arena as the compiler would write them.
  void Plan() {
    std::vector<uint64_t> bytes, workspace;
    for (const PackageTensor& t : data.tensors) {
      Dims dims;
      for (const Dim& d : t.shape) dims.push_back(d.value());
      bytes.push_back(t.is_container() ? 0 : static_cast<uint64_t>(*LayoutBytes(t.dtype, dims, t.layout)));
    }
    for (const PackageStep& s : data.steps) workspace.push_back(s.workspace);
    MemoryPlan plan = PlanMemory(data, bytes, workspace);
    data.static_plan = true;
    data.arena_size = plan.arena_size;
    for (size_t i = 0; i < data.tensors.size(); ++i) data.tensors[i].offset = plan.tensor_offsets[i];
    for (size_t s = 0; s < data.steps.size(); ++s) data.steps[s].workspace_offset = plan.workspace_offsets[s];
  }

 private:
  int Add(const std::string& name, DType dtype, SymShape shape, TensorKind kind, int alias = -1, Layout layout = Layout::kPlain) {
    PackageTensor t;
    t.name = name;
    t.dtype = dtype;
    t.shape = std::move(shape);
    t.kind = kind;
    t.alias = alias;
    t.layout = layout;
    data.tensors.push_back(std::move(t));
    return static_cast<int>(data.tensors.size() - 1);
  }
};

// One of each control step:
//   loop   three times sum = sum + c, with every sum stacked
//   grow   `trips` times list = concat(list, i): the extent depends on the data
//   scan   over the columns of x from the last to the first: their sums so far, put in as columns
//   if     flag ? max(x, 0) after a Loop in the branch that doubles it `trips` times : -x
inline PackageMaker ControlPackage() {
  const Dim n = PackageMaker::Sym("N"), k = PackageMaker::Sym("k");
  const auto add = [](const char* name, PackageMaker& m, int a, int b, int y) { m.Step(name, "", "Add", {a, b}, {y}); };
  PackageMaker m;
  m.data.symbols = {{"N", {0, 1000}}, {"u", {0, 1000}}, {"w", {0, 1000}}};
  int x = m.Input("x", DType::kFloat32, {n, 4});
  int trips = m.Input("trips", DType::kInt64, {});
  int flag = m.Input("flag", DType::kBool, {});
  int c = m.Constant<float>("c", {4}, {1, 2, 3, 4});
  int three = m.Constant<int64_t>("three", {}, {3});

  PackageMaker loop;
  loop.data.symbols["N"] = {0, 1000};
  loop.Input("i", DType::kInt64, {});
  int go = loop.Input("go", DType::kBool, {});
  int s = loop.Input("sum", DType::kFloat32, {n, 4}), lc = loop.Input("c", DType::kFloat32, {4});
  int on = loop.Output("on", DType::kBool, {}), next = loop.Output("next", DType::kFloat32, {n, 4}), seen = loop.Output("seen", DType::kFloat32, {n, 4});
  loop.Step("go", "engine", "Copy", {go}, {on});
  add("add", loop, s, lc, next);
  loop.Step("seen", "engine", "Copy", {next}, {seen});
  int sum = m.Output("sum", DType::kFloat32, {n, 4}), sums = m.Output("sums", DType::kFloat32, {3, n, 4});
  int body = m.Body("body", loop);
  m.Control("loop", {.kind = ControlKind::kLoop, .bodies = {body}, .carried = 1}, {three, -1, x, c}, {sum, sums});

  PackageMaker grow;
  grow.data.symbols["k"] = {0, 1000};
  int i = grow.Input("i", DType::kInt64, {});
  go = grow.Input("go", DType::kBool, {});
  int list = grow.Input("list", DType::kInt64, {k});
  on = grow.Output("on", DType::kBool, {});
  int longer = grow.Output("longer", DType::kInt64, {k + Dim(1)}), again = grow.Output("again", DType::kInt64, {});
  int one = grow.Arena("one", DType::kInt64, {1});
  grow.Step("go", "engine", "Copy", {go}, {on});
  grow.Step("one", "", "Unsqueeze", {i, grow.Constant<int64_t>("axes", {1}, {0})}, {one});
  grow.Step("concat", "", "Concat", {list, one}, {longer}, {{"axis", int64_t{0}}});
  grow.Step("again", "engine", "Copy", {i}, {again});
  int grown = m.Output("grown", DType::kInt64, {PackageMaker::Sym("u")}), count = m.Output("count", DType::kInt64, {PackageMaker::Sym("w")});
  int nine = m.Constant<int64_t>("nine", {1}, {9});
  body = m.Body("body", grow);
  m.Control("grow", {.kind = ControlKind::kLoop, .bodies = {body}, .carried = 1}, {trips, -1, nine}, {grown, count}).data_dims = true;

  PackageMaker scan;
  scan.data.symbols["N"] = {0, 1000};
  int before = scan.Input("before", DType::kFloat32, {n}), column = scan.Input("column", DType::kFloat32, {n});
  int after = scan.Output("after", DType::kFloat32, {n}), shown = scan.Output("shown", DType::kFloat32, {n});
  add("add", scan, before, column, after);
  scan.Step("shown", "engine", "Copy", {after}, {shown});
  int zeros = m.Arena("zeros", DType::kFloat32, {n}), total = m.Output("total", DType::kFloat32, {n}), parts = m.Output("parts", DType::kFloat32, {n, 4});
  m.Step("zeros", "", "ReduceSum", {sum, m.Constant<int64_t>("axis", {1}, {1})}, {zeros}, {{"keepdims", int64_t{0}}});
  body = m.Body("body", scan);
  m.Control("scan",
            {.kind = ControlKind::kScan, .bodies = {body}, .carried = 1, .scanned = 1, .input_axes = {1}, .output_axes = {1}, .input_backward = {1}, .output_backward = {1}},
            {zeros, x}, {total, parts});

  PackageMaker twice;
  twice.data.symbols["N"] = {0, 1000};
  twice.Input("i", DType::kInt64, {});
  go = twice.Input("go", DType::kBool, {});
  int t = twice.Input("t", DType::kFloat32, {n, 4});
  on = twice.Output("on", DType::kBool, {});
  int doubled = twice.Output("doubled", DType::kFloat32, {n, 4});
  twice.Step("go", "engine", "Copy", {go}, {on});
  add("add", twice, t, t, doubled);
  PackageMaker then, other;
  then.data.symbols["N"] = other.data.symbols["N"] = {0, 1000};
  int tx = then.Input("x", DType::kFloat32, {n, 4}), tn = then.Input("trips", DType::kInt64, {});
  int much = then.Arena("much", DType::kFloat32, {n, 4}), ty = then.Output("y", DType::kFloat32, {n, 4});
  body = then.Body("body", twice);
  then.Control("twice", {.kind = ControlKind::kLoop, .bodies = {body}, .carried = 1}, {tn, -1, tx}, {much});
  then.Step("relu", "", "Relu", {much}, {ty});
  int ox = other.Input("x", DType::kFloat32, {n, 4});
  other.Input("trips", DType::kInt64, {});
  int oy = other.Output("y", DType::kFloat32, {n, 4});
  other.Step("neg", "", "Neg", {ox}, {oy});
  int yes = m.Body("then_branch", then), no = m.Body("else_branch", other);
  int y = m.Output("y", DType::kFloat32, {n, 4});
  m.Control("if", {.kind = ControlKind::kIf, .bodies = {yes, no}}, {flag, x, trips}, {y});
  return m;
}

// y = x + a + b + c, constants of 8 bits, 4 bits and floats.
inline PackageMaker CodedPackage() {
  PackageMaker m;
  int x = m.Input("x", DType::kFloat32, {2, 3});
  int a = m.Coded("a", {2, 3}, {0.5f, 0.25f}, {-128, 2, 127, 4, -5, 6}, 8);
  int b = m.Coded("b", {2, 3}, {2.0f, 1.0f}, {-8, 7, 1, 0, -1, 5}, 4);
  int c = m.Constant<float>("c", {3}, {1, 2, 3});
  int p = m.Arena("p", DType::kFloat32, {2, 3}), q = m.Arena("q", DType::kFloat32, {2, 3}), y = m.Output("y", DType::kFloat32, {2, 3});
  m.Step("add_a", "", "Add", {x, a}, {p});
  m.Step("add_b", "", "Add", {p, b}, {q});
  m.Step("add_c", "", "Add", {q, c}, {y});
  return m;
}

// Each operator on sequences and optionals, and control flow that carries and captures them:
//   more    s with x behind, its tensor `at` as `picked`, without that as `rest`, how many as `count`
//   joined  x cut into rows, the rows in a loop put into a list `trips` times (the list as `grown`), all of it joined
//   y       what o holds, else x;  wrapped: an optional of that; again: l as it is
inline PackageMaker SequencePackage() {
  using enum SequenceOp;
  const Dim n = PackageMaker::Sym("N");
  const DType f32 = DType::kFloat32;
  PackageMaker m;
  m.data.symbols = {{"N", {0, 1000}}, {"a", {0, 1000}}, {"b", {0, 1000}}, {"c", {0, 1000}}};
  int s = m.Holder("s", f32, Container::kSequence, TensorKind::kInput), o = m.Holder("o", f32, Container::kOptional, TensorKind::kInput),
      l = m.Holder("l", f32, Container::kOptionalSequence, TensorKind::kInput);
  int x = m.Input("x", f32, {n, 4}), at = m.Input("at", DType::kInt64, {}), trips = m.Input("trips", DType::kInt64, {});

  int more = m.Holder("more", f32, Container::kSequence, TensorKind::kOutput), rest = m.Holder("rest", f32, Container::kSequence, TensorKind::kOutput);
  int picked = m.Output("picked", f32, {PackageMaker::Sym("a"), 4}), count = m.Output("count", DType::kInt64, {});
  m.Sequence("insert", {.op = kInsert}, {s, x, -1}, more);
  m.Sequence("at", {.op = kAt}, {more, at}, picked).data_dims = true;
  m.Sequence("erase", {.op = kErase}, {more, at}, rest);
  m.Sequence("length", {.op = kLength}, {rest}, count);

  PackageMaker loop;
  int i = loop.Input("i", DType::kInt64, {}), go = loop.Input("go", DType::kBool, {});
  int list = loop.Holder("list", f32, Container::kSequence, TensorKind::kInput), rows = loop.Holder("rows", f32, Container::kSequence, TensorKind::kInput);
  int on = loop.Output("on", DType::kBool, {}), longer = loop.Holder("longer", f32, Container::kSequence, TensorKind::kOutput);
  int row = loop.Arena("row", f32, {1, 4});
  int zero = loop.Constant<int64_t>("zero", {}, {0});
  loop.Step("go", "engine", "Copy", {go}, {on});
  loop.Sequence("row", {.op = kAt}, {rows, zero}, row);
  loop.Step("i", "engine", "Copy", {i}, {loop.Arena("unused", DType::kInt64, {})});
  loop.Sequence("grow", {.op = kInsert}, {list, row, zero}, longer);
  int pieces = m.Holder("pieces", f32, Container::kSequence), empty = m.Holder("empty", f32, Container::kSequence),
      grown = m.Holder("grown", f32, Container::kSequence, TensorKind::kOutput);
  m.Sequence("split", {.op = kSplit, .axis = 0}, {x}, pieces);
  m.Sequence("empty", {.op = kConstruct}, {m.Constant<float>("nine", {1, 4}, {9, 9, 9, 9})}, empty);
  int body = m.Body("body", loop);
  m.Control("loop", {.kind = ControlKind::kLoop, .bodies = {body}, .carried = 1}, {trips, -1, empty, pieces}, {grown});
  int joined = m.Output("joined", f32, {PackageMaker::Sym("b"), 4});
  m.Sequence("join", {.op = kConcat, .axis = 0}, {grown}, joined).data_dims = true;

  PackageMaker then, other;
  then.data.symbols = {{"N", {0, 1000}}, {"k", {0, 1000}}};
  other.data.symbols["N"] = {0, 1000};
  int to = then.Holder("o", f32, Container::kOptional, TensorKind::kInput);
  then.Input("x", f32, {n, 4});
  int ty = then.Output("y", f32, {PackageMaker::Sym("k"), 4});
  then.Sequence("get", {.op = kGetElement}, {to}, ty).data_dims = true;
  other.Holder("o", f32, Container::kOptional, TensorKind::kInput);
  int ox = other.Input("x", f32, {n, 4}), oy = other.Output("y", f32, {n, 4});
  other.Step("copy", "engine", "Copy", {ox}, {oy});
  int has = m.Arena("has", DType::kBool, {}), y = m.Output("y", f32, {PackageMaker::Sym("c"), 4});
  m.Sequence("has", {.op = kHasElement}, {o}, has);
  int yes = m.Body("then_branch", then), no = m.Body("else_branch", other);
  m.Control("if", {.kind = ControlKind::kIf, .bodies = {yes, no}}, {has, o, x}, {y}).data_dims = true;
  m.Sequence("wrap", {.op = kOptional}, {y}, m.Holder("wrapped", f32, Container::kOptional, TensorKind::kOutput));
  m.Sequence("again", {.op = kIdentity}, {l}, m.Holder("again", f32, Container::kOptionalSequence, TensorKind::kOutput));
  return m;
}

}  // namespace slipway::format
