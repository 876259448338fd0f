#pragma once
// Random graphs with If, Loop, Scan, sequences and optionals, and inputs for them.

#include <random>
#include <string>
#include <vector>

#include "model/ir/graph.h"
#include "model/ir/tensor.h"

namespace slipway::passes {

// Writes graphs as text. Tensors are float32[2, 3] and stay small; sequences hold such tensors.
class ControlWriter {
 public:
  explicit ControlWriter(uint32_t seed) : random_(seed) {}

  std::string Graph(int steps) {
    std::string body =
        "input %x: float32[2, 3]\ninput %y: float32[2, 3]\ninput %c: bool[]\ninput %n: int64[]\n"
        "input %s: seq(float32[2, 3])\ninput %o: optional(float32[2, 3])\n";
    std::vector<Val> scope = {{"x", 't'}, {"y", 't'}, {"c", 'b'}, {"s", 's'}, {"o", 'o'}};
    const size_t inputs = scope.size();
    Steps(body, scope, steps, 0);
    for (size_t i = inputs; i < scope.size(); ++i) {
      if (Chance(30) || i + 1 == scope.size()) body += "output %" + scope[i].name + "\n";
    }
    return "graph \"g\" {\n" + body + "}\n";
  }

 private:
  struct Val {
    std::string name;
    char kind;      // tensor, sequence, optional, bool
    int least = 0;  // tensors in the sequence, at least
  };
  using Scope = std::vector<Val>;

  int Below(int n) { return static_cast<int>(random_() % static_cast<uint32_t>(n)); }
  bool Chance(int percent) { return Below(100) < percent; }
  std::string Name() { return "v" + std::to_string(next_++); }
  const Val* Pick(const Scope& scope, char kind, int least = 0) {
    std::vector<const Val*> fit;
    for (const Val& v : scope) {
      if (v.kind == kind && v.least >= least) fit.push_back(&v);
    }
    if (fit.empty()) return nullptr;
    return Chance(50) ? fit.back() : fit[static_cast<size_t>(Below(static_cast<int>(fit.size())))];
  }
  std::string Made(Scope& scope, char kind, int least = 0) {
    scope.push_back({Name(), kind, least});
    return "%" + scope.back().name;
  }
  std::string Tensor(const Scope& scope) { return "%" + Pick(scope, 't')->name; }
  std::string Constant(std::string& out, const std::string& type, const std::string& value) {
    const std::string name = "%" + Name();
    out += "const " + name + ": " + type + " = " + value + "\n";
    return name;
  }

  void Steps(std::string& out, Scope& scope, int steps, int depth) {
    for (int i = 0; i < steps; ++i) Step(out, scope, depth);
  }

  void Step(std::string& out, Scope& scope, int depth) {
    switch (Below(depth < 2 ? 19 : 14)) {
      case 0:
      case 1: {
        const char* ops[] = {"Relu", "Tanh", "Neg", "Identity"};
        const std::string t = Tensor(scope);
        out += Made(scope, 't') + " = " + ops[Below(4)] + "(" + t + ")\n";
        break;
      }
      case 2:
      case 3: {
        const char* ops[] = {"Add", "Sub", "Max"};
        const std::string a = Tensor(scope), b = Tensor(scope), sum = "%" + Name();
        out += sum + " = " + ops[Below(3)] + "(" + a + ", " + b + ")\n";
        out += Made(scope, 't') + " = Tanh(" + sum + ")\n";
        break;
      }
      case 4:
        scope.push_back(
            {Constant(out, "float32[2, 3]", "random(" + std::to_string(Below(1000)) + ")")
                 .substr(1),
             't'});
        break;
      case 5: {
        const std::string a = Tensor(scope), b = Tensor(scope);
        if (Chance(30))
          out += Made(scope, 's') + " = SequenceEmpty()\n";
        else
          out += Made(scope, 's', 2) + " = SequenceConstruct(" + a + ", " + b + ")\n";
        break;
      }
      case 6: {
        const Val s = *Pick(scope, 's');
        const std::string t = Tensor(scope);
        const std::string at = Chance(40) ? ", " + Constant(out, "int64[]", "[0]") : "";
        out +=
            Made(scope, 's', s.least + 1) + " = SequenceInsert(%" + s.name + ", " + t + at + ")\n";
        break;
      }
      case 7:
        if (const Val* found = Pick(scope, 's', 1)) {
          const Val s = *found;
          const std::string at = Chance(50) ? ", " + Constant(out, "int64[]", "[-1]") : "";
          out += Made(scope, 's', s.least - 1) + " = SequenceErase(%" + s.name + at + ")\n";
        }
        break;
      case 8:
        if (const Val* found = Pick(scope, 's', 1)) {
          const std::string s = found->name;
          const std::string at = Constant(out, "int64[]", Chance(50) ? "[0]" : "[-1]");
          out += Made(scope, 't') + " = SequenceAt(%" + s + ", " + at + ")\n";
        }
        break;
      case 9:
        if (const Val* found = Pick(scope, 's', 1)) {
          const std::string s = found->name, all = "%" + Name();
          out += all + " = ConcatFromSequence(%" + s + ") {axis = 0, new_axis = 1}\n";
          Mean(out, scope, all);
        }
        break;
      case 10: {
        const std::string t = Tensor(scope), s = "%" + Name();
        const bool keep = Chance(50);
        out +=
            s + " = SplitToSequence(" + t + ") {axis = 1, keepdims = " + (keep ? "1" : "0") + "}\n";
        out += Made(scope, 't') + " = ConcatFromSequence(" + s + ") {axis = 1" +
               (keep ? "" : ", new_axis = 1") + "}\n";
        break;
      }
      case 11: {
        const Val s = *Pick(scope, 's');
        const std::string n = "%" + Name(), two = Constant(out, "int64[]", "[2]");
        out += n + " = SequenceLength(%" + s.name + ")\n";
        out += Made(scope, 'b') + " = Greater(" + n + ", " + two + ")\n";
        break;
      }
      case 12: {
        const std::string t = Tensor(scope);
        if (Chance(30))
          out += Made(scope, 'o') + " = Optional() {type = \"float32[2, 3]\"}\n";
        else
          out += Made(scope, 'o') + " = Optional(" + t + ")\n";
        break;
      }
      case 13: {
        const Val o = *Pick(scope, 'o');
        out += Made(scope, 'b') + " = OptionalHasElement(%" + o.name + ")\n";
        if (depth < 2) Unpack(out, scope, o.name, scope.back().name);
        break;
      }
      case 14:
      case 15:
        If(out, scope, depth);
        break;
      case 16:
      case 17:
        Loop(out, scope, depth);
        break;
      default:
        Scan(out, scope);
    }
  }

  void Mean(std::string& out, Scope& scope, const std::string& stacked) {
    const std::string axes = Constant(out, "int64[1]", "[0]");
    const std::string mean = "%" + Name();
    out += mean + " = ReduceSum(" + stacked + ", " + axes + ") {keepdims = 0}\n";
    out += Made(scope, 't') + " = Tanh(" + mean + ")\n";
  }

  // What the optional holds, or another tensor.
  void Unpack(std::string& out, Scope& scope, std::string o, std::string has) {
    const std::string t = Tensor(scope);
    out += Made(scope, 't') + " = If(%" + has + ", %" + o + ", " + t +
           ") body \"then_branch\" graph \"t\" {\ninput %o\ninput %t\n%e = "
           "OptionalGetElement(%o)\noutput %e\n} body \"else_branch\" graph \"e\" {\ninput %o\n"
           "input %t\noutput %t\n}\n";
  }

  // A random part of the scope, as a body has it; `list` gets the node's inputs for it.
  Scope Captured(const Scope& scope, std::string& list) {
    Scope inside;
    for (const Val& v : scope) {
      const bool needed = v.name == "x" || v.name == "c" || v.name == "s" || v.name == "o";
      if (!needed && Chance(60)) continue;
      list += ", %" + v.name;
      inside.push_back(v);
    }
    return inside;
  }
  static std::string Inputs(const Scope& inside) {
    std::string s;
    for (const Val& v : inside) s += "input %" + v.name + "\n";
    return s;
  }

  void If(std::string& out, Scope& scope, int depth) {
    const std::string condition = Pick(scope, 'b')->name;
    const std::string kinds = Chance(50) ? "t" : Chance(50) ? "ts" : Chance(50) ? "ot" : "tt";
    std::string list, bodies;
    const Scope captured = Captured(scope, list);
    for (const char* branch : {"then_branch", "else_branch"}) {
      Scope inside = captured;
      std::string body = Inputs(inside);
      Steps(body, inside, 1 + Below(3), depth + 1);
      for (char kind : kinds) body += "output %" + Pick(inside, kind)->name + "\n";
      bodies += std::string(" body \"") + branch + "\" graph \"b\" {\n" + body + "}";
    }
    std::string made;
    for (char kind : kinds) made += (made.empty() ? "" : ", ") + Made(scope, kind);
    out += made + " = If(%" + condition + list + ")" + bodies + "\n";
  }

  void Loop(std::string& out, Scope& scope, int depth) {
    const std::string kinds = Chance(40) ? "t" : Chance(50) ? "st" : "s";
    std::string list, first;
    for (char kind : kinds) {
      if (kind == 's' && Chance(50)) {  // what stack-sequences looks for
        const std::string empty = Made(scope, 's');
        out += empty + " = SequenceEmpty()\n";
        first += ", " + empty;
      } else {
        first += ", %" + Pick(scope, kind)->name;
      }
    }
    Scope inside = Captured(scope, list);
    std::string carried;
    for (char kind : kinds) {
      inside.push_back({Name(), kind});
      carried += "input %" + inside.back().name + "\n";
    }
    std::string captured;
    for (size_t i = 0; i + kinds.size() < inside.size(); ++i)
      captured += "input %" + inside[i].name + "\n";
    const Scope before = inside;
    std::string body = "input %i\ninput %go\n" + carried + captured;
    Steps(body, inside, 1 + Below(3), depth + 1);
    std::string results;
    for (size_t k = 0; k < kinds.size(); ++k) {
      const std::string in = before[before.size() - kinds.size() + k].name;
      if (kinds[k] == 's' && Chance(70)) {
        const std::string grown = "%" + Name();
        body += grown + " = SequenceInsert(%" + in + ", " + Tensor(inside) + ")\n";
        results += "output " + grown + "\n";
      } else {
        results += "output %" + (kinds[k] == 's' ? in : Pick(inside, kinds[k])->name) + "\n";
      }
    }
    const std::string each = Tensor(inside);
    body += "output %go\n" + results + "output " + each + "\n";
    std::string made;
    for (char kind : kinds) made += Made(scope, kind) + ", ";
    const std::string stacked = "%" + Name();
    const std::string count = depth > 0 || Chance(50)
                                  ? Constant(out, "int64[]", "[" + std::to_string(Below(4)) + "]")
                                  : "%n";
    out += made + stacked + " = Loop(" + count + ", _" + first + list +
           ") {carried = " + std::to_string(kinds.size()) + "} body \"body\" graph \"b\" {\n" +
           body + "}\n";
    Mean(out, scope, stacked);
  }

  void Scan(std::string& out, Scope& scope) {
    const std::string state =
        Constant(out, "float32[3]", "random(" + std::to_string(Below(99)) + ")");
    const std::string t = Tensor(scope), last = "%" + Name();
    out += last + ", " + Made(scope, 't') + " = Scan(" + state + ", " + t +
           ") {carried = 1, num_scan_inputs = 1, scan_input_directions = [" +
           std::to_string(Below(2)) + "], scan_output_directions = [" + std::to_string(Below(2)) +
           "]} body \"body\" graph \"b\" {\ninput %s\ninput %e\n%u = Sub(%s, %e)\n%v = Tanh(%u)\n"
           "%w = Relu(%u)\noutput %v\noutput %w\n}\n";
  }

  std::mt19937 random_;
  int next_ = 0;
};

// Inputs of such a graph.
inline Result<std::vector<ir::Tensor>> ControlInputs(uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const auto tensor = [&] {
    std::vector<float> v(6);
    for (float& f : v) f = uniform(random);
    return ir::Tensor::Of<float>({2, 3}, v);
  };
  std::vector<ir::Tensor> inputs = {tensor(), tensor(), ir::Tensor::Scalar<bool>(random() % 2 != 0),
                                    ir::Tensor::Scalar<int64_t>(random() % 4)};
  std::vector<ir::Tensor> items(random() % 3);
  for (ir::Tensor& t : items) t = tensor();
  SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor sequence,
                           ir::Tensor::Sequence(DType::kFloat32, std::move(items)));
  inputs.push_back(std::move(sequence));
  inputs.push_back(random() % 2 != 0
                       ? ir::Tensor::Optional(tensor())
                       : ir::Tensor::NoOptional(DType::kFloat32, ir::Container::kOptional));
  return inputs;
}

}  // namespace slipway::passes
